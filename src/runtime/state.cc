#include "state.h"

#include <algorithm>
#include <filesystem>

#include "brume/base/json.h"
#include "brume/linux/fd.h"

namespace brume::runtime {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

Json pairs_to_json(const Labels& pairs) {
  Json out = Json::array();
  for (const auto& [key, value] : pairs) out.push_back(Json::array({key, value}));
  return out;
}

Labels pairs_from_json(const Json& value) {
  Labels out;
  for (const Json& pair : value) {
    if (pair.is_array() && pair.size() == 2) out.emplace_back(str(pair[0]), str(pair[1]));
  }
  return out;
}

}  // namespace

Status check_id(std::string_view id, std::string_view what) {
  auto fine = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  };
  if (id.empty() || id.size() > 120 || id[0] == '.' || !std::ranges::all_of(id, fine)) {
    return fail(Code::kInvalid, std::string(what) + " \"" + std::string(id) + "\" is not usable as a name");
  }
  return {};
}

Json sandbox_to_json(const SandboxSpec& spec) {
  return {{"id", spec.id},
          {"hostname", spec.hostname},
          {"hostNetwork", spec.host_network},
          {"hostPid", spec.host_pid},
          {"hostIpc", spec.host_ipc},
          {"sharePid", spec.share_pid},
          {"cgroupParent", spec.cgroup_parent},
          {"labels", pairs_to_json(spec.labels)}};
}

SandboxSpec sandbox_from_json(const Json& value) {
  SandboxSpec spec;
  spec.id = str(value, "id");
  spec.hostname = str(value, "hostname");
  spec.host_network = flag(value, "hostNetwork");
  spec.host_pid = flag(value, "hostPid");
  spec.host_ipc = flag(value, "hostIpc");
  spec.share_pid = flag(value, "sharePid");
  spec.cgroup_parent = str(value, "cgroupParent");
  spec.labels = pairs_from_json(at(value, "labels"));
  return spec;
}

Json container_to_json(const ContainerSpec& spec) {
  return {{"sandbox", spec.sandbox_id},
          {"id", spec.id},
          {"name", spec.name},
          {"oci", spec.oci},
          {"layers", spec.layers},
          {"writableDir", spec.writable_dir},
          {"logPath", spec.log_path},
          {"tty", spec.tty},
          {"stdin", spec.stdin},
          {"stdinOnce", spec.stdin_once},
          {"labels", pairs_to_json(spec.labels)}};
}

ContainerSpec container_from_json(const Json& value) {
  ContainerSpec spec;
  spec.sandbox_id = str(value, "sandbox");
  spec.id = str(value, "id");
  spec.name = str(value, "name");
  spec.oci = at(value, "oci");
  for (const Json& layer : at(value, "layers")) spec.layers.emplace_back(str(layer));
  spec.writable_dir = str(value, "writableDir");
  spec.log_path = str(value, "logPath");
  spec.tty = flag(value, "tty");
  spec.stdin = flag(value, "stdin");
  spec.stdin_once = flag(value, "stdinOnce");
  spec.labels = pairs_from_json(at(value, "labels"));
  return spec;
}

std::vector<ContainerSpec> PodFolder::containers() const {
  std::vector<ContainerSpec> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    const auto& file = entry.path();
    if (file.extension() != ".json" || file.filename() == "sandbox.json") continue;
    auto text = linux_os::read_file(file.string(), 64U << 20);
    if (!text) continue;
    auto value = parse_json(*text);
    if (value && check_id(str(*value, "id"), "container")) out.push_back(container_from_json(*value));
  }
  return out;
}

}  // namespace brume::runtime
