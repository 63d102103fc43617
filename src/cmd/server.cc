// brume server, and brume cleanup.
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "brume/base/log.h"
#include "brume/linux/mount.h"
#include "cmd/allocator.h"
#include "cmd/assembly.h"
#include "cmd/commands.h"
#include "cmd/options.h"
#include "cmd/version.h"

namespace brume::cmd {

namespace {

/// What the threads may keep of freed blocks.
constexpr std::size_t kThreadCaches = 4U << 20;
/// How often, and from how much free memory on, all of it is given back: after a burst it is most of what an idle
/// server would hold.
constexpr timespec kReleaseInterval{60, 0};
constexpr std::size_t kReleaseFrom = 4U << 20;

/// Blocks the signals that end a server, so that one thread can wait for them.
sigset_t block_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return set;
}

void prepare_process() {
  bound_thread_caches(kThreadCaches);
  ::umask(0022);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
}

}  // namespace

int run_server(const std::vector<std::string>& arguments) {
  if (wants_help(arguments)) {
    std::fputs(server_help().c_str(), stdout);
    return 0;
  }
  const auto began = std::chrono::steady_clock::now();
  auto options = parse_server_options(arguments);
  if (!options) return report(options.error());
  if (::geteuid() != 0)
    return report({Code::kForbidden, "the server needs root: it makes namespaces, mounts and network links"});
  if (!options->disable_agent) {
    const auto chrooted = linux_os::is_chrooted();
    if (!chrooted) return report(chrooted.error());
    if (*chrooted) return report({Code::kForbidden, std::string(kChrooted)});
  }
  log::configure(options->log_level, options->log_format);
  prepare_process();
  const sigset_t signals = block_signals();
  Assembly assembly(std::move(*options));
  if (const auto started = assembly.start(); !started) return report(started.error());
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
  log::info("brume is ready", {{"version", std::string(kVersion)}, {"ms", std::to_string(took.count())}});
  release_free_memory();
  int signal = -1;
  while (signal < 0) {
    signal = ::sigtimedwait(&signals, nullptr, &kReleaseInterval);
    if (signal < 0) release_free_memory(kReleaseFrom);
  }
  log::info("stopping", {{"signal", signal == SIGTERM ? "SIGTERM" : "SIGINT"}});
  assembly.stop();
  return 0;
}

}  // namespace brume::cmd
