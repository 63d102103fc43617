// Kinds of core/v1 and certificates with small rules of their own.
#include <map>

#include "../strategy.h"
#include "brume/base/strings.h"

namespace brume::apiserver::strategies {

namespace {

// A namespace goes only when its contents are gone: the namespace controller takes "kubernetes" from spec.finalizers.
class NamespaceStrategy final : public Strategy {
 public:
  NamespaceStrategy() : Strategy({.returns_deleted = true}) {}

  Status prepare_create(Json& object, StrategyContext& /*context*/) const override {
    object["status"] = Json{{"phase", "Active"}};
    Json& finalizers = object["spec"]["finalizers"];
    if (!finalizers.is_array()) finalizers = Json::array();
    bool present = false;
    for (const Json& finalizer : finalizers) present = present || str(finalizer) == "kubernetes";
    if (!present) finalizers.push_back("kubernetes");
    label(object);
    return {};
  }
  Status prepare_update(Json& object, const Json& old, StrategyContext& /*context*/) const override {
    object["spec"] = at(old, "spec");
    label(object);
    return {};
  }
  Status prepare_subresource(std::string_view subresource, Json& object, const Json& old,
                             StrategyContext& /*context*/) const override {
    if (subresource == "status") {
      const bool deleting = at(old, "metadata").contains("deletionTimestamp");
      if (!deleting && str(object, "status").empty()) object["status"]["phase"] = at(old, "status", "phase");
    }
    label(object);
    return {};
  }
  [[nodiscard]] bool may_go(const Json& object) const override { return at(object, "spec", "finalizers").empty(); }

 private:
  static void label(Json& object) {
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = at(object, "metadata", "name");
  }
};

class NodeStrategy final : public Strategy {
 public:
  // The node agent registers itself with its status.
  NodeStrategy() : Strategy({.keeps_status_on_create = true}) {}
};

// stringData is write-only: it lands in data.
class SecretStrategy final : public Strategy {
 public:
  SecretStrategy() : Strategy({}) {}
  Status prepare_create(Json& object, StrategyContext& /*context*/) const override { return fold(object); }
  Status prepare_update(Json& object, const Json& old, StrategyContext& /*context*/) const override {
    if (str(object, "type").empty()) object["type"] = at(old, "type");
    return fold(object);
  }

 private:
  static Status fold(Json& object) {
    const auto it = object.find("stringData");
    if (it == object.end()) return {};
    for (const auto& [key, value] : it->items()) object["data"][key] = base64_encode(str(value));
    object.erase("stringData");
    return {};
  }
};

// Who asks for a certificate is for the server to say.
class CertificateRequestStrategy final : public Strategy {
 public:
  CertificateRequestStrategy() : Strategy({}) {}
  Status prepare_create(Json& object, StrategyContext& context) const override {
    Json& spec = object["spec"];
    for (const char* key : {"username", "uid", "groups", "extra"}) spec.erase(key);
    if (context.user == nullptr) return {};
    spec["username"] = context.user->name;
    if (!context.user->uid.empty()) spec["uid"] = context.user->uid;
    if (!context.user->groups.empty()) spec["groups"] = context.user->groups;
    for (const auto& [key, values] : context.user->extra) spec["extra"][key] = values;
    return {};
  }
  Status prepare_update(Json& object, const Json& old, StrategyContext& /*context*/) const override {
    object["spec"] = at(old, "spec");
    return {};
  }
  Status prepare_subresource(std::string_view subresource, Json& object, const Json& old,
                             StrategyContext& context) const override {
    const Json& old_status = at(old, "status");
    if (subresource == "approval") {
      // Approval may add and remove conditions, never issue.
      Json conditions = at(object, "status", "conditions");
      object["status"] = old_status.is_object() ? old_status : Json::object();
      if (conditions.is_array()) object["status"]["conditions"] = std::move(conditions);
    } else if (subresource == "status") {
      keep_decisions(object, old_status);
    }
    stamp(object, context.now);
    return {};
  }

 private:
  static bool decision(const Json& condition) {
    return str(condition, "type") == "Approved" || str(condition, "type") == "Denied";
  }
  static void keep_decisions(Json& object, const Json& old_status) {
    Json conditions = Json::array();
    for (const Json& condition : at(old_status, "conditions")) {
      if (decision(condition)) conditions.push_back(condition);
    }
    for (const Json& condition : at(object, "status", "conditions")) {
      if (!decision(condition)) conditions.push_back(condition);
    }
    if (!conditions.empty()) object["status"]["conditions"] = std::move(conditions);
  }
  static void stamp(Json& object, WallTime now) {
    if (!at(object, "status", "conditions").is_array()) return;
    for (Json& condition : object["status"]["conditions"]) {
      for (const char* key : {"lastUpdateTime", "lastTransitionTime"}) {
        if (str(condition, key).empty()) condition[key] = format_rfc3339(now);
      }
    }
  }
};

}  // namespace

const Strategy* core_kind(std::string_view group_resource) {
  static const NamespaceStrategy namespaces;
  static const NodeStrategy nodes;
  static const SecretStrategy secrets;
  static const CertificateRequestStrategy requests;
  static const std::map<std::string_view, const Strategy*> kinds = {
      {"namespaces", &namespaces},
      {"nodes", &nodes},
      {"secrets", &secrets},
      {"certificatesigningrequests.certificates.k8s.io", &requests},
  };
  const auto it = kinds.find(group_resource);
  return it == kinds.end() ? nullptr : it->second;
}

}  // namespace brume::apiserver::strategies
