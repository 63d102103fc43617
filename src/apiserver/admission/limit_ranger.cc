#include <algorithm>
#include <cstdio>
#include <optional>

#include "brume/api/pod_resources.h"
#include "brume/base/strings.h"
#include "plugins.h"

namespace brume::apiserver {
namespace {

using api::Amounts;
using api::Quantity;

const Quantity* find(const Amounts& amounts, const std::string& name) {
  const auto found = amounts.find(name);
  return found == amounts.end() ? nullptr : &found->second;
}

struct Usage {
  Amounts requests, limits;
};

/// The violations of one item of LimitRange.spec.limits.
class Bounds {
 public:
  Bounds(const Json& limit, std::vector<std::string>& errors)
      : type_(str(limit, "type")), limit_(limit), errors_(errors) {}

  void check(const Usage& usage) {
    const bool claim = type_ == "PersistentVolumeClaim";
    for (const auto& [name, bound] : api::amounts_of(at(limit_, "min"))) check_min(name, bound, usage);
    for (const auto& [name, bound] : api::amounts_of(at(limit_, "max"))) {
      if (claim)
        check_max_request(name, bound, usage);
      else
        check_max(name, bound, usage);
    }
    if (claim) return;
    for (const auto& [name, bound] : api::amounts_of(at(limit_, "maxLimitRequestRatio")))
      check_ratio(name, bound, usage);
  }

 private:
  void say(std::string_view bound_name, const std::string& name, const Quantity& bound, const std::string& rest) {
    errors_.push_back(std::string(bound_name) + " " + name + " usage per " + type_ + " is " + bound.to_string() + rest);
  }

  void check_min(const std::string& name, const Quantity& bound, const Usage& usage) {
    const auto* request = find(usage.requests, name);
    const auto* limit = find(usage.limits, name);
    if (request == nullptr) return say("minimum", name, bound, ".  No request is specified");
    if (*request < bound) return say("minimum", name, bound, ", but request is " + request->to_string());
    if (limit != nullptr && *limit < bound) say("minimum", name, bound, ", but limit is " + limit->to_string());
  }

  void check_max(const std::string& name, const Quantity& bound, const Usage& usage) {
    const auto* request = find(usage.requests, name);
    const auto* limit = find(usage.limits, name);
    if (limit == nullptr) return say("maximum", name, bound, ".  No limit is specified");
    if (*limit > bound) return say("maximum", name, bound, ", but limit is " + limit->to_string());
    if (request != nullptr && *request > bound) say("maximum", name, bound, ", but request is " + request->to_string());
  }

  void check_max_request(const std::string& name, const Quantity& bound, const Usage& usage) {
    const auto* request = find(usage.requests, name);
    if (request == nullptr) return say("maximum", name, bound, ".  No request is specified");
    if (*request > bound) say("maximum", name, bound, ", but request is " + request->to_string());
  }

  void check_ratio(const std::string& name, const Quantity& bound, const Usage& usage) {
    const auto* request = find(usage.requests, name);
    const auto* limit = find(usage.limits, name);
    const std::string head = name + " max limit to request ratio per " + type_ + " is " + bound.to_string() + ", but ";
    if (request == nullptr || request->is_zero()) {
      errors_.push_back(head + "no request is specified or request is 0");
    } else if (limit == nullptr || limit->is_zero()) {
      errors_.push_back(head + "no limit is specified or limit is 0");
    } else if (const double ratio = api::ratio(*limit, *request); ratio > api::ratio(bound, Quantity(1))) {
      char text[64];
      std::snprintf(text, sizeof text, "%f", ratio);
      errors_.push_back(head + "provided ratio is " + text);
    }
  }

  std::string type_;
  const Json& limit_;
  std::vector<std::string>& errors_;
};

std::string fill(Json& container, std::string_view which, const Json& defaults) {
  std::vector<std::string> set;
  for (const auto& [name, value] : defaults.items()) {
    Json& amounts = container["resources"][std::string(which)];
    if (amounts.is_object() && amounts.contains(name)) continue;
    amounts[name] = value;
    set.push_back(name);
  }
  return join(set, ", ");
}

// Only where amounts can be new.
bool sizes_pod(const AdmissionRequest& request) {
  const bool resize = request.operation == Operation::kUpdate && request.subresource == "resize" &&
                      request.object != nullptr && request.resource->group_resource() == "pods";
  return resize || creates(request, "pods");
}

class LimitRanger : public AdmissionPlugin {
 public:
  explicit LimitRanger(const ObjectSource& objects) : objects_(objects) {}

  Status mutate(AdmissionRequest& request) const override {
    if (!sizes_pod(request)) return {};
    for (const auto& object : objects_.all(api::res("limitranges"), request.ns))
      set_defaults(*request.object, object->parse());
    return {};
  }

  Status validate(const AdmissionRequest& request) const override {
    const bool pod = sizes_pod(request);
    const bool claim = request.object != nullptr && request.operation != Operation::kDelete &&
                       is_for(request, "persistentvolumeclaims");
    if (!pod && !claim) return {};
    if (request.old_object != nullptr && at(*request.old_object, "metadata").contains("deletionTimestamp")) return {};
    for (const auto& object : objects_.all(api::res("limitranges"), request.ns)) {
      std::vector<std::string> errors;
      const Json range = object->parse();
      for (const auto& limit : at(range, "spec", "limits")) check(at(*request.object, "spec"), limit, pod, errors);
      if (!errors.empty()) return forbid(request, told_once(std::move(errors)));
    }
    return {};
  }

 private:
  // As Kubernetes joins errors: containers that fail alike are told of once.
  static std::string told_once(std::vector<std::string> errors) {
    std::vector<std::string> unique;
    for (auto& error : errors) {
      if (std::find(unique.begin(), unique.end(), error) == unique.end()) unique.push_back(std::move(error));
    }
    const std::string all = join(unique, ", ");
    return unique.size() == 1 ? all : "[" + all + "]";
  }

  static void check(const Json& spec, const Json& limit, bool pod, std::vector<std::string>& errors) {
    Bounds bounds(limit, errors);
    const auto type = str(limit, "type");
    if (!pod) {
      if (type == "PersistentVolumeClaim") bounds.check({api::amounts_of(at(spec, "resources", "requests")), {}});
      return;
    }
    if (type == "Pod") bounds.check({api::pod_amounts(spec, "requests"), api::pod_amounts(spec, "limits")});
    if (type != "Container") return;
    for (const auto* kind : {"containers", "initContainers"}) {
      for (const auto& container : at(spec, kind)) {
        bounds.check({api::amounts_of(at(container, "resources", "requests")),
                      api::amounts_of(at(container, "resources", "limits"))});
      }
    }
  }

  static void set_defaults(Json& pod, const Json& range) {
    Json requests = Json::object();
    Json limits = Json::object();
    for (const auto& limit : at(range, "spec", "limits")) {
      if (str(limit, "type") != "Container") continue;
      for (const auto& [name, value] : at(limit, "defaultRequest").items()) requests[name] = value;
      for (const auto& [name, value] : at(limit, "default").items()) limits[name] = value;
    }
    std::vector<std::string> notes;
    for (const auto& [kind, word] : {std::pair{"containers", " container "}, {"initContainers", " init container "}}) {
      if (!at(pod, "spec", kind).is_array()) continue;
      for (auto& container : pod["spec"][kind]) {
        const std::string name(str(container, "name"));
        const auto set_limits = fill(container, "limits", limits);
        const auto set_requests = fill(container, "requests", requests);
        if (!set_requests.empty()) notes.push_back(set_requests + " request for" + word + name);
        if (!set_limits.empty()) notes.push_back(set_limits + " limit for" + word + name);
      }
    }
    if (!notes.empty()) {
      pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"] = "LimitRanger plugin set: " + join(notes, "; ");
    }
  }

  const ObjectSource& objects_;
};

}  // namespace

PluginPtr limit_ranger(const ObjectSource& objects) { return std::make_unique<LimitRanger>(objects); }

}  // namespace brume::apiserver
