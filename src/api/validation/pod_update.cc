// Whole pods: create, what may change later, status.
#include <algorithm>
#include <set>

#include "api/validation/pod.h"
#include "brume/api/pod_qos.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

constexpr std::string_view kMirror = "kubernetes.io/config.mirror";
constexpr std::string_view kAppArmor = "container.apparmor.security.beta.kubernetes.io/";
constexpr std::string_view kSeccompPod = "seccomp.security.alpha.kubernetes.io/pod";
constexpr std::string_view kSeccompContainer = "container.seccomp.security.alpha.kubernetes.io/";
constexpr std::string_view kDeletionCost = "controller.kubernetes.io/pod-deletion-cost";

const Path kSpec("spec");
const Path kAnnotations = Path("metadata") / "annotations";

void check_seccomp_text(Errors& errors, const Path& path, std::string_view text) {
  if (text == "runtime/default" || text == "docker/default" || text == "unconfined") return;
  if (text.starts_with("localhost/")) return check_descending_path(errors, path, text.substr(10));
  errors.invalid(path, text, "must be a valid seccomp profile");
}

bool has_container(const Json& spec, std::string_view name) {
  for (const char* key : {"initContainers", "containers", "ephemeralContainers"}) {
    for (const Json& container : items(at(spec, key))) {
      if (str(container, "name") == name) return true;
    }
  }
  return false;
}

// What both a new and a changed pod must satisfy, beyond the metadata.
void check_pod(Errors& errors, const Json& pod) {
  const Json& spec = at(pod, "spec");
  check_pod_annotations(errors, kAnnotations, at(pod, "metadata", "annotations"), spec);
  check_pod_spec(errors, kSpec, spec, str(at(pod, "metadata"), "name"), true);
  if (!str(spec, "serviceAccountName").empty()) return;
  std::size_t v = 0;
  for (const Json& volume : items(at(spec, "volumes"))) {
    const Path here = (kSpec / "volumes")[v++] / "projected" / "sources";
    std::size_t s = 0;
    for (const Json& source : items(at(volume, "projected", "sources"))) {
      const Path where = here[s++];
      if (has(source, "serviceAccountToken")) {
        errors.forbidden(where / "serviceAccountToken", "must not be specified when serviceAccountName is not set");
      }
    }
  }
}

void check_annotation_updates(Errors& errors, const Json& pod, const Json& old) {
  const Json& next = at(pod, "metadata", "annotations");
  const Json& before = at(old, "metadata", "annotations");
  if (before.is_object()) {
    for (const auto& [key, value] : before.items()) {
      if (at(next, key) == value) continue;
      if (key.starts_with(kAppArmor))
        errors.forbidden(kAnnotations.key(key), "may not remove or update AppArmor annotations");
      if (key == kMirror) errors.forbidden(kAnnotations.key(key), "may not remove or update mirror pod annotation");
    }
  }
  if (next.is_object()) {
    for (const auto& [key, value] : next.items()) {
      if (has(before, key)) continue;
      if (key.starts_with(kAppArmor)) errors.forbidden(kAnnotations.key(key), "may not add AppArmor annotations");
      if (key == kMirror) errors.forbidden(kAnnotations.key(key), "may not add mirror pod annotation");
    }
  }
}

// False when the lists cannot be compared any further.
bool check_container_updates(Errors& errors, std::string_view key, const Json& spec, const Json& old) {
  if (items(at(spec, key)).size() != items(at(old, key)).size()) {
    errors.forbidden(kSpec / key, "pod updates may not add or remove containers");
    return false;
  }
  return true;
}

// False when nothing more is to be said.
bool check_deadline_update(Errors& errors, const Json& spec, const Json& old) {
  const Path path = kSpec / "activeDeadlineSeconds";
  const Json& next = at(spec, "activeDeadlineSeconds");
  const Json& before = at(old, "activeDeadlineSeconds");
  if (!next.is_number()) {
    if (before.is_number()) errors.invalid(path, Json(), "must not update from a positive integer to nil value");
    return true;
  }
  if (before.is_number() && before.get<std::int64_t>() < next.get<std::int64_t>()) {
    errors.invalid(path, next, "must be less than or equal to previous value");
    return false;
  }
  return true;
}

void check_toleration_updates(Errors& errors, const Json& spec, const Json& old) {
  for (Json before : items(at(old, "tolerations"))) {
    if (before.is_object()) before.erase("tolerationSeconds");
    const auto& now = items(at(spec, "tolerations"));
    const bool kept = std::any_of(now.begin(), now.end(), [&](Json toleration) {
      if (toleration.is_object()) toleration.erase("tolerationSeconds");
      return same(toleration, before);
    });
    if (!kept) {
      errors.forbidden(kSpec / "tolerations", "existing toleration can not be modified except its tolerationSeconds");
      return;
    }
  }
}

void check_gate_updates(Errors& errors, const Json& spec, const Json& old) {
  const auto& before = items(at(old, "schedulingGates"));
  std::size_t i = 0;
  for (const Json& gate : items(at(spec, "schedulingGates"))) {
    const Path here = (kSpec / "schedulingGates")[i++] / "name";
    const auto name = str(gate, "name");
    const bool known =
        std::any_of(before.begin(), before.end(), [&](const Json& item) { return str(item, "name") == name; });
    if (!known) {
      errors.forbidden(here, "only deletion is allowed, but found new scheduling gate '" + std::string(name) + "'");
    }
  }
}

bool begins_with(const Json& next, const Json& old) {
  const auto& longer = items(next);
  const auto& shorter = items(old);
  return longer.size() >= shorter.size() && std::equal(shorter.begin(), shorter.end(), longer.begin(), same);
}

bool only_adds(const Json& next, const Json& old) {
  const bool old_matches_all = items(at(old, "matchExpressions")).empty() && items(at(old, "matchFields")).empty();
  if (old_matches_all && (!blank(at(next, "matchExpressions")) || !blank(at(next, "matchFields")))) return false;
  return begins_with(at(next, "matchExpressions"), at(old, "matchExpressions")) &&
         begins_with(at(next, "matchFields"), at(old, "matchFields"));
}

// A gated pod has not been scheduled: where it may go can still be narrowed.
void check_gated(Errors& errors, Json& spec, const Json& old) {
  const Json& selector = at(old, "nodeSelector");
  if (selector.is_object()) {
    for (const auto& [key, value] : selector.items()) {
      if (at(at(spec, "nodeSelector"), key) == value) continue;
      errors.invalid(kSpec / "nodeSelector", at(spec, "nodeSelector"),
                     "only additions to spec.nodeSelector are allowed (no mutations or deletions)");
      break;
    }
  }
  const auto restore = [](Json& object, const char* key, const Json& value) {
    if (value.is_null()) {
      object.erase(key);
    } else {
      object[key] = value;
    }
  };
  const auto terms_of = [](const Json& pod_spec) -> const Json& {
    return at(pod_spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution",
              "nodeSelectorTerms");
  };
  const Path path =
      kSpec / "affinity" / "nodeAffinity" / "requiredDuringSchedulingIgnoredDuringExecution" / "nodeSelectorTerms";
  const auto& before = items(terms_of(old));
  const auto& now = items(terms_of(spec));
  if (!before.empty() && before.size() != now.size()) {
    errors.invalid(path, terms_of(spec), "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
  } else {
    for (std::size_t i = 0; i < before.size(); ++i) {
      if (!only_adds(now[i], before[i])) {
        errors.invalid(path[i], now[i], "only additions are allowed (no mutations or deletions)");
      }
    }
  }
  restore(spec, "nodeSelector", selector);
  Json affinity = at(spec, "affinity").is_object() ? at(spec, "affinity") : Json::object();
  restore(affinity, "nodeAffinity", at(old, "affinity", "nodeAffinity"));
  restore(spec, "affinity", affinity);
}

// The places where two specs differ, one pair of lines each.
void differences(std::string& out, const Path& path, const Json& next, const Json& old) {
  if (same(next, old)) return;
  if (next.is_object() && old.is_object()) {
    std::set<std::string> keys;
    for (const Json* side : {&next, &old}) {
      for (const auto& [key, value] : side->items()) keys.insert(key);
    }
    for (const auto& key : keys) differences(out, path / key, at(next, key), at(old, key));
    return;
  }
  if (next.is_array() && old.is_array() && next.size() == old.size()) {
    for (std::size_t i = 0; i < next.size(); ++i) differences(out, path[i], next[i], old[i]);
    return;
  }
  const std::string where = path.to_string();
  if (!blank(old)) out += "-\t" + where + ": " + shown(old) + "\n";
  if (!blank(next)) out += "+\t" + where + ": " + shown(next) + "\n";
}

void check_unchangeable(Errors& errors, const Json& pod, const Json& old_pod) {
  const Json& old = at(old_pod, "spec");
  Json spec = at(pod, "spec");
  if (!spec.is_object()) return;
  for (const char* list : {"containers", "initContainers"}) {
    const auto& before = items(at(old, list));
    for (std::size_t i = 0; i < before.size(); ++i) {  // as many of them now, or check_container_updates had spoken
      if (Json& container = spec[list][i]; container.is_object()) container["image"] = str(before[i], "image");
    }
  }
  for (const char* key : {"activeDeadlineSeconds", "tolerations", "schedulingGates"}) {
    spec.erase(key);
    if (has(old, key)) spec[key] = at(old, key);
  }
  if (num(old, "terminationGracePeriodSeconds") < 0 && num(spec, "terminationGracePeriodSeconds") == 1) {
    spec["terminationGracePeriodSeconds"] = at(old, "terminationGracePeriodSeconds");
  }
  if (!items(at(old, "schedulingGates")).empty()) check_gated(errors, spec, old);
  if (same(spec, old)) return;
  std::string diff;
  differences(diff, Path(), spec, old);
  errors.forbidden(kSpec,
                   "pod updates may not change fields other than `spec.containers[*].image`,"
                   "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
                   "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
                   "previously negative)\n" +
                       diff);
}

// ---- resize ----

// An older node, or one that has not told yet, shows no resources of what runs.
bool node_resizes(const Json& pod) {
  for (const Json& status : items(at(pod, "status", "containerStatuses"))) {
    if (at(status, "state", "running").is_object()) return at(status, "resources").is_object();
  }
  return true;
}

// What of ResourceRequirements a resize leaves as it is.
Json without_amounts(const Json& resources) {
  Json out = Json::object();
  for (const char* side : {"limits", "requests"}) {
    if (!at(resources, side).is_object()) continue;
    Json rest = at(resources, side);
    rest.erase("cpu");
    rest.erase("memory");
    if (!rest.empty()) out[side] = std::move(rest);
  }
  return out;
}

void check_none_removed(Errors& errors, const Path& path, const Json& next, const Json& old, const std::string& what) {
  for (const char* side : {"requests", "limits"}) {
    const Json& before = at(old, side);
    if (!before.is_object()) continue;
    const Json& now = at(next, side);
    bool kept = true;
    for (const auto& [name, amount] : before.items()) kept = kept && has(now, name);
    if (!kept) errors.forbidden(path / side, what + " " + side + " cannot be removed");
  }
}

bool check_same_containers(Errors& errors, const std::string& list, const Json& next, const Json& old) {
  const auto& now = items(next);
  const auto& before = items(old);
  if (now.size() != before.size()) {
    errors.forbidden(kSpec / list, list + " may not be added or removed on resize");
    return false;
  }
  bool all = true;
  for (std::size_t i = 0; i < now.size(); ++i) {
    if (str(now[i], "name") == str(before[i], "name")) continue;
    errors.forbidden((kSpec / list)[i] / "name", list + " may not be renamed or reordered on resize");
    all = false;
  }
  return all;
}

// One container for one, as check_same_containers() has found.
void check_container_resizes(Errors& errors, std::string_view list, const Json& next, const Json& old) {
  const bool init = list == "initContainers";
  const auto rest = [](Json container) {
    const Json kept = without_amounts(at(container, "resources"));
    container.erase("resources");
    if (!kept.empty()) container["resources"] = kept;
    return container;
  };
  for (std::size_t i = 0; i < items(next).size(); ++i) {
    const Json& now = items(next)[i];
    const Json& before = items(old)[i];
    const Path here = (kSpec / list)[i];
    check_none_removed(errors, here / "resources", at(now, "resources"), at(before, "resources"), "resource");
    if (!same(rest(now), rest(before))) {
      if (init) {
        errors.forbidden(here, "only cpu and memory resources for init or sidecar containers are mutable");
      } else {
        errors.forbidden(kSpec, "only cpu and memory resources are mutable");
      }
    }
  }
}

// ---- status ----

// What stands for `restartPolicy: Never` and the like: an ended container stays ended.
bool may_restart(const Json& spec, std::string_view list, const Json& status) {
  auto policy = str(spec, "restartPolicy");
  const auto code = num(at(status, "state", "terminated"), "exitCode");
  for (const Json& container : items(at(spec, list))) {
    if (str(container, "name") != str(status, "name")) continue;
    for (const Json& rule : items(at(container, "restartPolicyRules"))) {
      const auto& codes = items(at(rule, "exitCodes", "values"));
      const bool in = std::any_of(codes.begin(), codes.end(), [&](const Json& value) { return value == Json(code); });
      if (in == (str(at(rule, "exitCodes"), "operator") == "In")) return true;
    }
    if (has(container, "restartPolicy")) policy = str(container, "restartPolicy");
  }
  return policy == "Always" || (policy == "OnFailure" && code != 0);
}

void check_transitions(Errors& errors, std::string_view statuses, std::string_view list, const Json& pod,
                       const Json& old) {
  const Json& spec = at(old, "spec");
  std::size_t i = 0;
  for (const Json& before : items(at(at(old, "status"), statuses))) {
    const Path here = (Path("status") / statuses)[i++] / "state";
    if (!at(before, "state", "terminated").is_object()) continue;
    if (!list.empty() && may_restart(spec, list, before)) continue;
    for (const Json& now : items(at(at(pod, "status"), statuses))) {
      if (str(now, "name") == str(before, "name") && !at(now, "state", "terminated").is_object()) {
        errors.forbidden(here, "may not be transitioned to non-terminated state");
        break;
      }
    }
  }
}

void check_address_list(Errors& errors, std::string_view key, const Json& status) {
  const Path path = Path("status") / key;
  const auto& list = items(at(status, key));
  int v6 = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    check_ip(errors, path[i], str(list[i], "ip"));
    v6 += is_ipv6(str(list[i], "ip")) ? 1 : 0;
  }
  if (list.size() > 2 || (list.size() == 2 && v6 != 1)) {
    errors.invalid(path, at(status, key), "may specify no more than one IP for each IP family");
  }
}

}  // namespace

void check_pod_annotations(Errors& errors, const Path& path, const Json& annotations, const Json& spec) {
  if (!annotations.is_object()) return;
  for (const auto& [key, value] : annotations.items()) {
    const auto text = str(value);
    if (key == kMirror && str(spec, "nodeName").empty()) {
      errors.invalid(path.key(key), text, "must set spec.nodeName if mirror pod annotation is set");
    } else if (key == kDeletionCost) {
      const auto cost = parse_int(text);
      const bool plain = !text.starts_with('+') && (text == "0" || (!text.starts_with('0') && !text.starts_with("-0")));
      if (!cost || !plain || *cost > 2147483647 || *cost < -2147483648LL) {
        errors.invalid(path.key(key), text, "must be a 32bit integer");
      }
    } else if (key == kSeccompPod || key.starts_with(kSeccompContainer)) {
      check_seccomp_text(errors, path / key, text);
    } else if (key.starts_with(kAppArmor)) {
      const auto container = std::string_view(key).substr(kAppArmor.size());
      if (!has_container(spec, container)) errors.invalid(path.key(key), container, "container not found");
      if (!text.empty() && text != "runtime/default" && text != "unconfined" && !text.starts_with("localhost/")) {
        errors.invalid(path.key(key), text, "invalid AppArmor profile name: " + quote(text));
      }
    }
  }
}

void create_pod(Errors& errors, const Json& pod) {
  const Json& spec = at(pod, "spec");
  check_pod(errors, pod);
  if (!blank(at(spec, "ephemeralContainers")))
    errors.forbidden(kSpec / "ephemeralContainers", "cannot be set on create");
  if (!str(spec, "nodeName").empty() && !blank(at(spec, "schedulingGates"))) {
    errors.forbidden(kSpec / "nodeName", "cannot be set until all schedulingGates have been cleared");
  }
}

void update_pod(Errors& errors, const Json& pod, const Json& old) {
  const Json& spec = at(pod, "spec");
  const Json& before = at(old, "spec");
  check_pod(errors, pod);
  check_annotation_updates(errors, pod, old);
  if (!check_container_updates(errors, "containers", spec, before)) return;
  if (!check_container_updates(errors, "initContainers", spec, before)) return;
  if (!check_deadline_update(errors, spec, before)) return;
  check_toleration_updates(errors, spec, before);
  check_gate_updates(errors, spec, before);
  if (!same(spec, before)) check_unchangeable(errors, pod, old);
}

void update_ephemeral_containers(Errors& errors, const Json& pod, const Json& old) {
  const Path path = kSpec / "ephemeralContainers";
  check_pod(errors, pod);
  check_annotation_updates(errors, pod, old);
  if (has(at(old, "metadata", "annotations"), kMirror)) {
    return errors.forbidden(Path(), "static pods do not support ephemeral containers");
  }
  const auto& now = items(at(pod, "spec", "ephemeralContainers"));
  for (const Json& before : items(at(old, "spec", "ephemeralContainers"))) {
    const auto name = str(before, "name");
    const auto it = std::find_if(now.begin(), now.end(), [&](const Json& item) { return str(item, "name") == name; });
    if (it == now.end()) {
      errors.forbidden(path, "existing ephemeral containers " + quote(name) + " may not be removed\n");
    } else if (!same(*it, before)) {
      std::string diff;
      differences(diff, Path(), *it, before);
      errors.forbidden(path, "existing ephemeral containers " + quote(name) + " may not be changed\n" + diff);
    }
  }
}

void update_pod_resize(Errors& errors, const Json& pod, const Json& old) {
  check_pod(errors, pod);
  if (has(at(old, "metadata", "annotations"), kMirror)) {
    return errors.forbidden(Path(), "static pods cannot be resized");
  }
  const Json& spec = at(pod, "spec");
  const Json& before = at(old, "spec");
  if (str(at(before, "os"), "name") == "windows") {
    return errors.forbidden(Path(), "windows pods cannot be resized");
  }
  if (pod_qos_class(spec) != pod_qos_class(before)) {
    errors.invalid(kSpec, str(at(pod, "status"), "qosClass"), "Pod QOS Class may not change as a result of resizing");
  }
  if (!node_resizes(old)) errors.forbidden(kSpec, "Pod running on node without support for resize");
  if (has(before, "resources") && !has(spec, "resources")) {
    return errors.forbidden(kSpec / "resources", "pod-level resources cannot be removed");
  }
  check_none_removed(errors, kSpec / "resources", at(spec, "resources"), at(before, "resources"), "pod-level resource");
  if (!same(without_amounts(at(spec, "resources")), without_amounts(at(before, "resources")))) {
    errors.forbidden(kSpec, "only cpu and memory resources are mutable at pod-level");
  }
  bool comparable = true;
  for (const char* list : {"containers", "initContainers"}) {
    comparable = check_same_containers(errors, list, at(spec, list), at(before, list)) && comparable;
  }
  if (!comparable) return;
  for (const char* list : {"initContainers", "containers"}) {
    check_container_resizes(errors, list, at(spec, list), at(before, list));
  }
  if (!errors.empty()) return;
  const auto rest = [](Json rest_of_spec) {
    for (const char* key : {"containers", "initContainers", "resources"}) rest_of_spec.erase(key);
    return rest_of_spec;
  };
  if (!same(rest(spec), rest(before))) errors.forbidden(kSpec, "only cpu and memory resources are mutable");
}

void update_pod_status(Errors& errors, const Json& pod, const Json& old) {
  const Path path("status");
  const Json& status = at(pod, "status");
  const Json& before = at(old, "status");
  check_annotation_updates(errors, pod, old);
  std::size_t i = 0;
  for (const Json& condition : items(at(status, "conditions"))) {
    check_format(errors, (path / "conditions")[i++] / "Type", str(condition, "type"), qualified_name);
  }
  if (str(at(pod, "spec"), "nodeName") != str(at(old, "spec"), "nodeName")) {
    errors.forbidden(path / "nodeName", "may not be changed directly");
  }
  const auto nominated = str(status, "nominatedNodeName");
  if (nominated != str(before, "nominatedNodeName") && !nominated.empty()) {
    check_format(errors, path / "nominatedNodeName", nominated, dns1123_subdomain);
  }
  if (num(status, "observedGeneration") < 0) {
    errors.invalid(path / "observedGeneration", num(status, "observedGeneration"), "must be a non-negative integer");
  }
  check_immutable(errors, path / "qosClass", at(status, "qosClass"), at(before, "qosClass"));
  check_transitions(errors, "containerStatuses", "containers", pod, old);
  check_transitions(errors, "initContainerStatuses", "initContainers", pod, old);
  check_transitions(errors, "ephemeralContainerStatuses", "", pod, old);
  check_address_list(errors, "podIPs", status);
  check_address_list(errors, "hostIPs", status);
  const auto& hosts = items(at(status, "hostIPs"));
  if (!hosts.empty() && str(hosts.front(), "ip") != str(status, "hostIP")) {
    errors.invalid((path / "hostIPs")[0] / "ip", str(hosts.front(), "ip"), "must be equal to `hostIP`");
  }
}

}  // namespace brume::api::validation
