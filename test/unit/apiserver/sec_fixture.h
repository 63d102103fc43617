// Fakes for the security tests: objects in a map, a clock that stands where it is put.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "../../../src/apiserver/access.h"
#include "brume/apiserver/security.h"
#include "brume/base/clock.h"
#include "brume/base/json.h"
#include "brume/base/task.h"

namespace brume::apiserver::testing {

class FakeClock : public Clock {
 public:
  [[nodiscard]] WallTime now() const override { return time; }
  [[nodiscard]] std::chrono::steady_clock::time_point steady() const override { return {}; }
  Task<void> sleep(std::chrono::steady_clock::duration duration) override {
    time += std::chrono::duration_cast<WallTime::duration>(duration);
    co_return;
  }
  WallTime time = *parse_rfc3339("2026-11-22T12:00:00Z");
};

class FakeObjects : public ObjectSource {
 public:
  [[nodiscard]] api::ObjectPtr find(const api::Resource& resource, std::string_view ns,
                                    std::string_view name) const override {
    const auto& table = tables_of(resource);
    const auto found = table.find(std::string(ns) + "/" + std::string(name));
    return found == table.end() ? nullptr : found->second;
  }
  [[nodiscard]] std::vector<api::ObjectPtr> all(const api::Resource& resource, std::string_view ns) const override {
    std::vector<api::ObjectPtr> out;
    for (const auto& [key, object] : tables_of(resource)) {
      if (ns.empty() || object->ns() == ns) out.push_back(object);
    }
    return out;
  }
  [[nodiscard]] std::int64_t version(const api::Resource&) const override { return version_; }

  void put(const char* group_resource, const Json& json) {
    auto object = api::Object::from_json(json);
    if (!object) std::abort();
    tables_[group_resource][(*object)->ns() + "/" + (*object)->name()] = *object;
    ++version_;
  }
  void put(const char* group_resource, const char* text) { put(group_resource, *parse_json(text)); }
  void remove(const char* group_resource, const std::string& key) {
    tables_[group_resource].erase(key);
    ++version_;
  }
  /// The default roles, bindings and namespaces.
  void put_defaults() {
    for (const auto& object : bootstrap_objects()) {
      const auto* resource = api::find_kind(str(object, "apiVersion"), str(object, "kind"));
      put(resource->group_resource().c_str(), object);
    }
  }

 private:
  using Table = std::map<std::string, api::ObjectPtr>;
  [[nodiscard]] const Table& tables_of(const api::Resource& resource) const {
    static const Table kNone;
    const auto found = tables_.find(resource.group_resource());
    return found == tables_.end() ? kNone : found->second;
  }
  std::map<std::string, Table> tables_;
  std::int64_t version_ = 1;
};

inline User user(std::string name, std::vector<std::string> groups = {"system:authenticated"}) {
  User out;
  out.name = std::move(name);
  out.groups = std::move(groups);
  return out;
}

inline User node(const std::string& name) {
  return user("system:node:" + name, {"system:nodes", "system:authenticated"});
}

/// "get pods/log ns name" in the core group; "get deployments.apps ns".
inline Attributes wish(User who, std::string verb, std::string_view resource, std::string ns = "",
                       std::string name = "") {
  Attributes out;
  out.user = std::move(who);
  out.verb = std::move(verb);
  out.version = "v1";
  out.ns = std::move(ns);
  out.name = std::move(name);
  const auto slash = resource.find('/');
  if (slash != std::string_view::npos) out.subresource = resource.substr(slash + 1);
  resource = resource.substr(0, slash);
  const auto dot = resource.find('.');
  if (dot != std::string_view::npos) out.group = resource.substr(dot + 1);
  out.resource = resource.substr(0, dot);
  return out;
}

}  // namespace brume::apiserver::testing
