#include "pod/pod.h"

#include "brume/api/pod_qos.h"
#include "brume/base/json.h"

namespace brume::node {

std::vector<ContainerEntry> containers_of(const Json& pod) {
  std::vector<ContainerEntry> all;
  for (const Json& c : at(pod, "spec", "initContainers")) {
    all.push_back({&c, ContainerKind::kInit, str(c, "restartPolicy") == "Always"});
  }
  for (const Json& c : at(pod, "spec", "containers")) all.push_back({&c, ContainerKind::kApp, false});
  for (const Json& c : at(pod, "spec", "ephemeralContainers")) all.push_back({&c, ContainerKind::kEphemeral, false});
  return all;
}

const Json* find_container(const Json& pod, std::string_view name) {
  for (const ContainerEntry& entry : containers_of(pod)) {
    if (str(*entry.spec, "name") == name) return entry.spec;
  }
  return nullptr;
}

std::string qos_class(const Json& pod) { return std::string(api::pod_qos_class(at(pod, "spec"))); }

std::string pod_text(const Json& pod) {
  const Json& meta = at(pod, "metadata");
  return std::string(str(meta, "name")) + "_" + std::string(str(meta, "namespace")) + "(" +
         std::string(str(meta, "uid")) + ")";
}

std::string duration_text(std::chrono::seconds duration) {
  const auto total = duration.count();
  const auto hours = total / 3600;
  const auto minutes = total / 60 % 60;
  std::string text;
  if (hours > 0) text += std::to_string(hours) + "h";
  if (hours > 0 || minutes > 0) text += std::to_string(minutes) + "m";
  return text + std::to_string(total % 60) + "s";
}

std::string duration_text_ms(std::chrono::milliseconds duration) {
  if (duration.count() < 1000) return std::to_string(duration.count()) + "ms";
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
  std::string text = duration_text(seconds);
  std::string fraction = std::to_string(duration.count() % 1000 + 1000).substr(1);
  while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  if (fraction.empty()) return text;
  text.pop_back();
  return text + "." + fraction + "s";
}

std::string pod_log_dir(std::string_view root, std::string_view ns, std::string_view name, std::string_view uid) {
  std::string dir(root);
  dir.append("/").append(ns).append("_").append(name).append("_").append(uid);
  return dir;
}

bool is_terminal_phase(std::string_view phase) { return phase == "Succeeded" || phase == "Failed"; }

}  // namespace brume::node
