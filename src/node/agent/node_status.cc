#include "agent/node_status.h"

#include <algorithm>

#include "brume/api/local_path.h"
#include "brume/base/strings.h"

namespace brume::node {

namespace {

constexpr std::size_t kMaxImages = 50;  // the kubelet's nodeStatusMaxImages

std::string kib(std::int64_t bytes) { return std::to_string(bytes / 1024) + "Ki"; }

std::string huge(std::int64_t bytes) { return bytes == 0 ? "0" : std::to_string(bytes >> 20) + "Mi"; }

Json resources(const NodeOptions& options, const Machine& machine, bool allocatable) {
  // Image and log space keeps a margin of 5 %, about what the default thresholds keep free.
  const std::int64_t disk = allocatable ? machine.disk_bytes / 100 * 95 : machine.disk_bytes;
  return {{"cpu", std::to_string(machine.cpus)},
          {"memory", kib(machine.memory_bytes)},
          {"pods", std::to_string(options.max_pods)},
          {"ephemeral-storage", allocatable ? std::to_string(disk) : kib(disk)},
          {"hugepages-2Mi", huge(machine.hugepages_2mi)},
          {"hugepages-1Gi", huge(machine.hugepages_1gi)}};
}

// Others advertise resources of a node in its capacity (example.com/dongle): all of that can be allocated.
Json allocatable(const NodeStatusInputs& in) {
  Json out = resources(in.options, in.machine, true);
  for (const auto& [name, amount] : at(in.old, "capacity").items()) {
    if (!out.contains(name)) out[name] = amount;
  }
  return out;
}

struct Condition {
  const char* type;
  bool status;
  std::string reason;
  std::string message;
};

Json condition_json(const Condition& condition, const NodeStatusInputs& in) {
  const std::string status = condition.status ? "True" : "False";
  const std::string now = format_rfc3339(in.now);
  std::string since = now;
  for (const Json& old : at(in.old, "conditions")) {
    if (str(old, "type") == condition.type && str(old, "status") == status) since = str(old, "lastTransitionTime");
  }
  return {{"type", condition.type},     {"status", status},
          {"reason", condition.reason}, {"message", condition.message},
          {"lastHeartbeatTime", now},   {"lastTransitionTime", since.empty() ? now : since}};
}

Json conditions(const NodeStatusInputs& in) {
  const Pressure& p = in.pressure;
  std::vector<std::string> lacks;
  for (const auto& limit : in.limitations) lacks.push_back(limit.what + " (" + limit.reason + ")");
  const auto text = [](bool bad, const std::string& why, const char* good) { return bad ? why : std::string(good); };
  const Condition all[] = {
      {"MemoryPressure", p.memory, p.memory ? "KubeletHasInsufficientMemory" : "KubeletHasSufficientMemory",
       text(p.memory, p.memory_message, "kubelet has sufficient memory available")},
      {"DiskPressure", p.disk, p.disk ? "KubeletHasDiskPressure" : "KubeletHasNoDiskPressure",
       text(p.disk, p.disk_message, "kubelet has no disk pressure")},
      {"PIDPressure", p.pid, p.pid ? "KubeletHasInsufficientPID" : "KubeletHasSufficientPID",
       text(p.pid, p.pid_message, "kubelet has sufficient PID available")},
      {"LimitsEnforced", lacks.empty(), lacks.empty() ? "KernelOffersAll" : "KernelLacks",
       lacks.empty() ? "every limit that pods ask for is enforced"
                     : "this machine does not enforce: " + join(lacks, "; ")},
      {"Ready", true, "KubeletReady", "kubelet is posting ready status"}};
  Json out = Json::array();
  for (const Condition& condition : all) out.push_back(condition_json(condition, in));
  return out;
}

Json image_list(const NodeStatusInputs& in) {
  auto images = in.images;
  std::sort(images.begin(), images.end(),
            [](const auto& a, const auto& b) { return std::tie(b->size, a->id) < std::tie(a->size, b->id); });
  if (images.size() > kMaxImages) images.resize(kMaxImages);
  Json out = Json::array();
  for (const auto& image : images) {
    Json names = Json::array();
    for (const std::string& name : image->repo_digests) names.push_back(name);
    for (const std::string& name : image->repo_tags) names.push_back(name);
    out.push_back({{"names", std::move(names)}, {"sizeBytes", image->size}});
  }
  return out;
}

Json without_heartbeats(Json status) {
  if (!status.contains("conditions")) return status;
  for (Json& condition : status["conditions"]) condition.erase("lastHeartbeatTime");
  return status;
}

}  // namespace

Json make_node(const NodeOptions& options, const Machine& machine) {
  Json labels = {{"kubernetes.io/hostname", options.hostname},
                 {"kubernetes.io/os", "linux"},
                 {"kubernetes.io/arch", machine.architecture},
                 {"beta.kubernetes.io/os", "linux"},
                 {"beta.kubernetes.io/arch", machine.architecture}};
  if (options.control_plane) labels["node-role.kubernetes.io/control-plane"] = "true";
  for (const auto& [key, value] : options.labels) labels[key] = value;
  Json spec = Json::object();
  if (!options.pod_cidr.empty()) {
    spec["podCIDR"] = options.pod_cidr;
    spec["podCIDRs"] = Json::array({options.pod_cidr});
  }
  return {{"apiVersion", "v1"},
          {"kind", "Node"},
          {"metadata",
           {{"name", options.node_name},
            {"labels", std::move(labels)},
            {"annotations",
             {{std::string(api::kLocalPathDirectory),
               options.storage_path.empty() ? options.storage_dir() : options.storage_path}}}}},
          {"spec", std::move(spec)}};
}

Json make_node_status(const NodeStatusInputs& in) {
  Json addresses = Json::array();
  for (const std::string& ip : in.options.node_ips) addresses.push_back({{"type", "InternalIP"}, {"address", ip}});
  addresses.push_back({{"type", "Hostname"}, {"address", in.options.hostname}});
  return {{"capacity", resources(in.options, in.machine, false)},
          {"allocatable", allocatable(in)},
          {"addresses", std::move(addresses)},
          {"conditions", conditions(in)},
          {"daemonEndpoints", {{"kubeletEndpoint", {{"Port", in.port}}}}},
          {"images", image_list(in)},
          {"features", {{"supplementalGroupsPolicy", true}}},
          {"nodeInfo",
           {{"machineID", in.machine.machine_id},
            {"systemUUID", in.machine.system_uuid},
            {"bootID", in.machine.boot_id},
            {"kernelVersion", in.machine.kernel_version},
            {"osImage", in.machine.os_image},
            {"containerRuntimeVersion", in.options.runtime_version},
            {"kubeletVersion", in.options.kubelet_version},
            {"kubeProxyVersion", in.options.kubelet_version},
            {"operatingSystem", "linux"},
            {"architecture", in.machine.architecture}}}};
}

bool node_status_differs(const Json& a, const Json& b) { return without_heartbeats(a) != without_heartbeats(b); }

}  // namespace brume::node
