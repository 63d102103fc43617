// brume cleanup: removes what a stopped server left running or mounted.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "brume/base/log.h"
#include "brume/base/task.h"
#include "brume/linux/cgroup.h"
#include "brume/linux/mount.h"
#include "brume/network/pod_links.h"
#include "brume/network/service_proxy.h"
#include "brume/runtime/runtime.h"
#include "cmd/commands.h"
#include "cmd/data_dir.h"
#include "cmd/network_options.h"
#include "cmd/options.h"

namespace brume::cmd {

namespace {

Task<Status> remove_pods(std::string state_dir) {
  auto runtime =
      runtime::Runtime::create({.state_dir = std::move(state_dir)}, co_await boost::asio::this_coro::executor);
  if (!runtime) co_return fail(runtime.error());
  auto sandboxes = co_await (*runtime)->adopt();
  Status first;
  if (!sandboxes) first = fail(sandboxes.error());
  if (sandboxes) {
    for (const auto& sandbox : *sandboxes) {
      auto removed = co_await (*runtime)->remove_sandbox(sandbox.id);
      if (!removed && first) first = fail(wrap(removed.error(), "pod " + sandbox.id));
    }
  }
  co_await (*runtime)->stop();
  co_return first;
}

// Unmounts whatever is mounted below the directories, innermost first.
Status unmount_below(const std::vector<std::string>& dirs) {
  BRUME_TRY(auto mounts, linux_os::read_mountinfo());
  std::ranges::reverse(mounts);
  for (const auto& mount : mounts) {
    const bool ours =
        std::ranges::any_of(dirs, [&](const std::string& dir) { return mount.mount_point.starts_with(dir + "/"); });
    if (ours) BRUME_CHECK(linux_os::detach_mount(mount.mount_point));
  }
  return {};
}

Status clean(const ServerOptions& options) {
  BRUME_TRY(const auto lock, lock_data_dir(options.data_dir));
  Status first;
  const auto keep = [&](Status status) {
    if (!status && first) first = std::move(status);
  };
  Loop loop("cleanup");
  loop.start();
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): the loop keeps it until it ended
  loop.run_and_wait([&]() -> Task<void> { keep(co_await remove_pods(options.state_dir)); });
  loop.stop();
  const std::string pods = options.data_dir + "/pods";
  const std::string containers = options.data_dir + "/containers";
  const auto unmounted = unmount_below({pods, containers, options.state_dir});
  keep(unmounted);
  if (unmounted) {  // else what is mounted there would go too
    keep(linux_os::remove_tree(pods));
    keep(linux_os::remove_tree(containers));
    keep(linux_os::remove_tree(options.state_dir));
  }
  keep(network::ServiceProxy::cleanup());
  keep(network::PodLinks::cleanup(pod_links_options(options)));
  if (const auto root = linux_os::find_cgroup2_mount()) {
    // "brume" holds "kubepods", which is empty by now.
    std::error_code ec;
    for (const auto* dir : {"/brume/kubepods/burstable", "/brume/kubepods/besteffort", "/brume/kubepods", "/brume"}) {
      std::filesystem::remove(*root + dir, ec);
    }
  }
  return first;
}

}  // namespace

int run_cleanup(const std::vector<std::string>& arguments) {
  if (wants_help(arguments)) {
    std::puts(
        "brume cleanup [flags]: removes what a stopped server left: pods' processes, mounts, cgroups, network "
        "namespaces, links\n"
        "and rules. Images and the cluster's state stay. Takes the flags of brume server (--data-dir and so on).");
    return 0;
  }
  const auto options = parse_server_options(arguments);
  if (!options) return report(options.error());
  log::configure(options->log_level, options->log_format);
  if (const auto done = clean(*options); !done) return report(done.error());
  return 0;
}

}  // namespace brume::cmd
