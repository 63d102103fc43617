// From a pod's JSON to what the scheduler reads of it.
#include <algorithm>
#include <chrono>

#include "brume/api/projection.h"
#include "brume/api/selector.h"
#include "brume/base/json.h"
#include "types.h"

namespace brume::scheduler {

namespace {

constexpr const char* kRequired = "requiredDuringSchedulingIgnoredDuringExecution";
constexpr const char* kPreferred = "preferredDuringSchedulingIgnoredDuringExecution";

// Calls `visit` for each element of a list that may be absent.
template <typename Visit>
void each(const Json& list, Visit visit) {
  if (!list.is_array()) return;
  for (const auto& entry : list) visit(entry);
}

std::vector<std::string> strings(const Json& list) {
  std::vector<std::string> out;
  each(list, [&](const Json& entry) { out.emplace_back(str(entry)); });
  return out;
}

void add_ports(const Json& container, std::vector<HostPort>& out) {
  each(at(container, "ports"), [&](const Json& port) {
    const auto number = num(port, "hostPort");
    if (number <= 0) return;
    const auto ip = str(port, "hostIP");
    const auto protocol = str(port, "protocol");
    out.push_back({.ip = ip.empty() ? "0.0.0.0" : std::string(ip),
                   .protocol = protocol.empty() ? "TCP" : std::string(protocol),
                   .port = static_cast<int>(number)});
  });
}

Footprint decode_footprint(const Json& pod_spec, const Json& status) {
  Footprint out{.requests = pod_requests(pod_spec, status), .scoring = scoring_requests(pod_spec, status)};
  each(at(pod_spec, "containers"), [&](const Json& container) { add_ports(container, out.ports); });
  each(at(pod_spec, "initContainers"), [&](const Json& container) {
    if (str(container, "restartPolicy") == "Always") add_ports(container, out.ports);
  });
  return out;
}

// A selector that cannot be read selects nothing; validation lets none in.
api::LabelSelector selector_of(const Json& value) {
  auto made = api::LabelSelector::from_json(value);
  return made ? std::move(*made) : api::LabelSelector::nothing();
}

std::string text_of(const api::LabelSelector& selector) {
  return selector.selects_nothing() ? "!" : selector.to_string();
}

void name_selector(PodSelector& pods) {
  for (const auto& ns : pods.namespaces) pods.id += ns + ",";
  pods.id += "|" + text_of(pods.namespace_selector) + "|" + text_of(pods.labels);
}

AffinityTerm decode_affinity_term(const Json& term, const std::string& own_namespace, std::int64_t weight) {
  AffinityTerm out{.pods = {}, .topology_key = std::string(str(term, "topologyKey")), .weight = weight};
  out.pods.namespaces = strings(at(term, "namespaces"));
  if (out.pods.namespaces.empty() && at(term, "namespaceSelector").is_null()) {
    out.pods.namespaces.push_back(own_namespace);
  }
  std::sort(out.pods.namespaces.begin(), out.pods.namespaces.end());
  out.pods.namespace_selector = selector_of(at(term, "namespaceSelector"));
  out.pods.labels = selector_of(at(term, "labelSelector"));
  name_selector(out.pods);
  out.id = out.topology_key + "|" + out.pods.id;
  return out;
}

void decode_affinity(const Json& affinity, const std::string& ns, std::vector<AffinityTerm>& required,
                     std::vector<AffinityTerm>& preferred) {
  each(at(affinity, kRequired), [&](const Json& term) { required.push_back(decode_affinity_term(term, ns, 0)); });
  each(at(affinity, kPreferred), [&](const Json& entry) {
    preferred.push_back(decode_affinity_term(at(entry, "podAffinityTerm"), ns, num(entry, "weight")));
  });
}

SpreadConstraint decode_spread(const Json& constraint, const Json& metadata) {
  SpreadConstraint out{.max_skew = num(constraint, "maxSkew", 1),
                       .min_domains = num(constraint, "minDomains", 1),
                       .topology_key = std::string(str(constraint, "topologyKey")),
                       .must = str(constraint, "whenUnsatisfiable") != "ScheduleAnyway",
                       .honor_affinity = str(constraint, "nodeAffinityPolicy") != "Ignore",
                       .honor_taints = str(constraint, "nodeTaintsPolicy") == "Honor"};
  Json selector = at(constraint, "labelSelector");
  // The API server puts the keys of matchLabelKeys into the selector; older pods have them here only.
  each(at(constraint, "matchLabelKeys"), [&](const Json& key) {
    const auto& labels = at(metadata, "labels");
    if (!selector.is_object() || !labels.is_object() || !labels.contains(std::string(str(key)))) return;
    selector["matchExpressions"].push_back(
        {{"key", key}, {"operator", "In"}, {"values", Json::array({labels[std::string(str(key))]})}});
  });
  out.pods.namespaces.emplace_back(str(metadata, "namespace"));
  out.pods.labels = selector_of(selector);
  name_selector(out.pods);
  return out;
}

// As images are listed in a node's status: with a tag.
std::string normalised_image(std::string_view name) {
  const auto colon = name.rfind(':');
  const auto slash = name.rfind('/');
  const bool tagged = colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash);
  return std::string(name) + (tagged ? "" : ":latest");
}

PodVolume decode_volume(const Json& volume, std::string_view pod_name) {
  PodVolume out{.name = std::string(str(volume, "name"))};
  if (const auto& claim = at(volume, "persistentVolumeClaim"); claim.is_object()) {
    out.claim = str(claim, "claimName");
    out.read_only = flag(claim, "readOnly");
  } else if (volume.contains("ephemeral")) {
    out.claim = std::string(pod_name) + "-" + out.name;
    out.ephemeral = true;
  } else if (const auto& csi = at(volume, "csi"); csi.is_object()) {
    out.csi_driver = str(csi, "driver");
    out.read_only = flag(csi, "readOnly");
  } else if (const auto& image = at(volume, "image"); image.is_object()) {
    out.image = normalised_image(str(image, "reference"));
  } else if (const auto& disk = at(volume, "gcePersistentDisk"); disk.is_object()) {
    out.exclusive = "gcePersistentDisk/" + std::string(str(disk, "pdName"));
    out.read_only = flag(disk, "readOnly");
  } else if (const auto& store = at(volume, "awsElasticBlockStore"); store.is_object()) {
    out.exclusive = "awsElasticBlockStore/" + std::string(str(store, "volumeID"));
  } else if (const auto& iscsi = at(volume, "iscsi"); iscsi.is_object()) {
    out.exclusive = "iscsi/" + std::string(str(iscsi, "iqn"));
    out.read_only = flag(iscsi, "readOnly");
  } else if (const auto& rbd = at(volume, "rbd"); rbd.is_object()) {
    out.exclusive = "rbd/" + std::string(str(rbd, "pool")) + "/" + std::string(str(rbd, "image"));
    out.read_only = flag(rbd, "readOnly");
  }
  return out;
}

bool concerns_scheduling(const PodVolume& volume) {
  return !volume.claim.empty() || !volume.csi_driver.empty() || !volume.image.empty() || !volume.exclusive.empty();
}

void decode_node_affinity(const Json& spec, PodSpec& out) {
  out.nodes = client::decode_required_node_affinity(spec);
  each(at(spec, "affinity", "nodeAffinity", kPreferred), [&](const Json& entry) {
    out.preferred.push_back({.weight = num(entry, "weight"), .term = decode_term(at(entry, "preference"))});
  });
}

PodSpec decode_spec(const Json& pod) {
  const auto& spec = at(pod, "spec");
  const auto& metadata = at(pod, "metadata");
  PodSpec out{.scheduler = std::string(str(spec, "schedulerName")),
              .node_name = std::string(str(spec, "nodeName")),
              .priority = num(spec, "priority"),
              .may_preempt = str(spec, "preemptionPolicy") != "Never",
              .footprint = decode_footprint(spec, Json())};
  if (out.scheduler.empty()) out.scheduler = "default-scheduler";
  each(at(spec, "schedulingGates"), [&](const Json& gate) { out.gates.emplace_back(str(gate, "name")); });
  decode_node_affinity(spec, out);
  out.tolerations = client::decode_tolerations(at(spec, "tolerations"));
  const std::string ns(str(metadata, "namespace"));
  decode_affinity(at(spec, "affinity", "podAffinity"), ns, out.affinity, out.preferred_affinity);
  decode_affinity(at(spec, "affinity", "podAntiAffinity"), ns, out.anti_affinity, out.preferred_anti_affinity);
  each(at(spec, "topologySpreadConstraints"),
       [&](const Json& constraint) { out.spread.push_back(decode_spread(constraint, metadata)); });
  const auto add_image = [&](const Json& container) {
    out.images.push_back(normalised_image(str(container, "image")));
  };
  each(at(spec, "initContainers"), add_image);
  each(at(spec, "containers"), add_image);
  each(at(spec, "volumes"), [&](const Json& entry) {
    auto volume = decode_volume(entry, str(metadata, "name"));
    if (concerns_scheduling(volume)) out.volumes.push_back(std::move(volume));
  });
  return out;
}

// The text of all that decode_spec() reads, without a DOM: pods that have the same have the same PodSpec.
std::string text_read(const api::Object& pod) {
  static const api::Projection kRead(
      {"spec.schedulerName", "spec.priority", "spec.preemptionPolicy", "spec.schedulingGates", "spec.nodeSelector",
       "spec.affinity", "spec.tolerations", "spec.topologySpreadConstraints", "spec.overhead", "spec.resources",
       "spec.initContainers.image", "spec.initContainers.resources", "spec.initContainers.ports",
       "spec.initContainers.restartPolicy", "spec.containers.image", "spec.containers.resources",
       "spec.containers.ports", "spec.containers.restartPolicy"});
  // The kinds of volumes that concern scheduling; others leave an empty entry, whatever their names are.
  static const api::Projection kVolumes({"spec.volumes.persistentVolumeClaim", "spec.volumes.ephemeral",
                                         "spec.volumes.csi", "spec.volumes.image", "spec.volumes.gcePersistentDisk",
                                         "spec.volumes.awsElasticBlockStore", "spec.volumes.azureDisk",
                                         "spec.volumes.cinder", "spec.volumes.iscsi", "spec.volumes.rbd",
                                         "spec.volumes.fc", "spec.volumes.vsphereVolume"});
  static const api::Projection kAllVolumes({"spec.volumes", "metadata.name"});
  auto out = kRead.text(pod.bytes()) + pod.ns();
  const auto volumes = kVolumes.text(pod.bytes());
  const auto first = volumes.find('[');
  if (first != std::string::npos && volumes.find("{\"", first) != std::string::npos) {
    out += kAllVolumes.text(pod.bytes());
  }
  if (out.find("\"matchLabelKeys\"") != std::string::npos) {
    for (const auto& [key, value] : pod.labels()) out.append("\n").append(key).append("=").append(value);
  }
  return out;
}

// Whether the status says what the pod has of resources, which may be more than it asks for.
bool tells_resources(const api::Object& pod) {
  static const api::Projection kResources(
      {"status.resources", "status.allocatedResources", "status.containerStatuses.resources",
       "status.containerStatuses.allocatedResources", "status.initContainerStatuses.resources",
       "status.initContainerStatuses.allocatedResources"});
  return kResources.text(pod.bytes()).find("esources\"") != std::string::npos;
}

// A resize is waited for: what it makes of the footprint is told by the status alone.
bool is_resizing(const Json& status) {
  const auto& conditions = at(status, "conditions");
  return conditions.is_array() && std::any_of(conditions.begin(), conditions.end(), [](const Json& condition) {
           return str(condition, "type").starts_with("PodResize");
         });
}

void note_start(PodInfo& pod) {
  if (pod.started != 0) return;
  const auto time = parse_rfc3339(api::field_value(*pod.object, "status.startTime"));
  if (time) pod.started = std::chrono::duration_cast<std::chrono::seconds>(time->time_since_epoch()).count();
}

PodPtr assemble(const ObjectPtr& pod, std::shared_ptr<const PodSpec> spec) {
  auto out = std::make_shared<PodInfo>();
  out->object = pod;
  out->footprint = std::shared_ptr<const Footprint>(spec, &spec->footprint);
  out->spec = std::move(spec);
  if (api::field_value(*pod, "spec.nodeName").empty()) return out;
  note_start(*out);
  if (!tells_resources(*pod)) return out;
  const Json value = pod->parse();
  auto now = decode_footprint(at(value, "spec"), at(value, "status"));
  const bool differs = !(now.requests == out->footprint->requests);
  if (differs) out->footprint = std::make_shared<const Footprint>(std::move(now));
  out->resizing = differs || is_resizing(at(value, "status"));
  return out;
}

}  // namespace

std::shared_ptr<const PodSpec> PodDecoder::share(const api::Object& pod) {
  // A pod that names its node without a scheduler is no template's.
  auto& slot = specs_[text_read(pod)];
  auto have = slot.lock();
  if (have) return have;
  PodSpec spec = decode_spec(pod.parse());
  spec.node_name.clear();
  auto made = std::make_shared<const PodSpec>(std::move(spec));
  slot = made;
  if (specs_.size() >= sweep_at_) sweep();
  return made;
}

// Forgets specs that no pod has any more.
void PodDecoder::sweep() {
  std::erase_if(specs_, [](const auto& entry) { return entry.second.expired(); });
  sweep_at_ = std::max<std::size_t>(64, specs_.size() * 2);
}

PodPtr PodDecoder::decode(const ObjectPtr& pod, const PodPtr& previous) {
  if (previous && previous->object->generation() == pod->generation() && !previous->resizing &&
      previous->uid() == pod->uid() && pod->bytes().find("\"PodResize") == std::string::npos &&
      (previous->spec->spread.empty() || previous->object->labels() == pod->labels())) {
    auto out = std::make_shared<PodInfo>(*previous);
    out->object = pod;
    note_start(*out);
    return out;
  }
  return assemble(pod, share(*pod));
}

PodPtr decode_pod(const ObjectPtr& pod) {
  return assemble(pod, std::make_shared<const PodSpec>(decode_spec(pod->parse())));
}

}  // namespace brume::scheduler
