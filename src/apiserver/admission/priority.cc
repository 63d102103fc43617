#include <algorithm>

#include "brume/api/selector.h"
#include "plugins.h"

namespace brume::apiserver {
namespace {

const api::Resource& classes() { return api::res("priorityclasses.scheduling.k8s.io"); }

struct Computed {
  std::string class_name;
  std::int64_t value = 0;
  std::string policy = "PreemptLowerPriority";
};

Computed from_class(const Json& json) {
  Computed out{std::string(str(at(json, "metadata"), "name")), num(json, "value")};
  if (!str(json, "preemptionPolicy").empty()) out.policy = str(json, "preemptionPolicy");
  return out;
}

class Priority : public AdmissionPlugin {
 public:
  explicit Priority(const ObjectSource& objects) : objects_(objects) {}

  Status mutate(AdmissionRequest& request) const override {
    if (is_for(request, "pods") && request.object != nullptr) {
      if (request.operation == Operation::kCreate) return fill(request);
      if (request.operation == Operation::kUpdate) keep(request);
    }
    return {};
  }

  Status validate(const AdmissionRequest& request) const override {
    if (!is_for(request, "priorityclasses.scheduling.k8s.io")) return {};
    if (request.operation == Operation::kDelete) {
      if (request.name != "system-node-critical" && request.name != "system-cluster-critical") return {};
      return forbid(request, "this is a system priority class and cannot be deleted");
    }
    if (request.object == nullptr) return {};
    if (!flag(*request.object, "globalDefault")) return {};
    for (const auto& other : objects_.all(classes(), "")) {
      if (other->name() == shown_name(request) || !flag(other->parse(), "globalDefault")) continue;
      return forbid(request,
                    "PriorityClass " + other->name() + " is already marked as default. Only one default can exist");
    }
    return {};
  }

 private:
  /// The class marked globalDefault; of several (possible for a moment) the lowest, so that no pod is lifted by
  /// accident.
  [[nodiscard]] Computed default_class() const {
    Computed chosen;
    for (const auto& object : objects_.all(classes(), "")) {
      if (api::field_value(*object, "globalDefault") != "true") continue;
      const Computed candidate = from_class(object->parse());
      if (chosen.class_name.empty() || candidate.value < chosen.value) chosen = candidate;
    }
    return chosen;
  }

  [[nodiscard]] Status fill(AdmissionRequest& request) const {
    Json& spec = spec_of(*request.object);
    const std::string name(str(spec, "priorityClassName"));
    Computed computed;
    if (name.empty()) {
      computed = default_class();
      if (!computed.class_name.empty()) spec["priorityClassName"] = computed.class_name;
    } else {
      const auto object = objects_.find(classes(), "", name);
      if (!object) return forbid(request, "no PriorityClass with name " + name + " was found");
      computed = from_class(object->parse());
    }
    if (at(spec, "priority").is_number_integer() && num(spec, "priority") != computed.value) {
      return forbid(request, "the integer value of priority (" + std::to_string(num(spec, "priority")) +
                                 ") must not be provided in pod spec; priority admission controller computed " +
                                 std::to_string(computed.value) + " from the given PriorityClass name");
    }
    if (const auto given = str(spec, "preemptionPolicy"); !given.empty() && given != computed.policy) {
      return forbid(request, "the string value of PreemptionPolicy (" + std::string(given) +
                                 ") must not be provided in pod spec; priority admission controller computed " +
                                 computed.policy + " from the given PriorityClass name");
    }
    spec["priority"] = computed.value;
    spec["preemptionPolicy"] = computed.policy;
    return {};
  }

  /// Updates from manifests leave out what was filled in; the fields cannot change, so the old values stand.
  static void keep(AdmissionRequest& request) {
    if (request.old_object == nullptr) return;
    Json& spec = spec_of(*request.object);
    for (const auto* field : {"priority", "preemptionPolicy"}) {
      const Json& old = at(*request.old_object, "spec", field);
      if (!spec.contains(field) && !old.is_null()) spec[field] = old;
    }
  }

  const ObjectSource& objects_;
};

}  // namespace

PluginPtr priority(const ObjectSource& objects) { return std::make_unique<Priority>(objects); }

}  // namespace brume::apiserver
