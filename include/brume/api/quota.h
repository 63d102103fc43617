// What ResourceQuotas count, and how much of it one object is.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/api/pod_resources.h"
#include "brume/api/resources.h"
#include "brume/base/json_fwd.h"
#include "brume/base/time.h"

namespace brume::api {

/// What quotas see of an object.
struct QuotaItem {
  Amounts usage = {};  ///< by the names that quotas use: pods, requests.cpu, count/pods ...
  /// After this time it uses less, without any change of the object: a pod that is being deleted does.
  std::optional<WallTime> ends = {};
  // What the scopes of quotas ask: of pods, and the classes of claims.
  bool terminating = false;
  bool best_effort = false;
  bool crosses_namespaces = false;  ///< by pod affinity
  std::string priority_class = {};
  std::vector<std::string> attributes_classes = {};

  bool operator==(const QuotaItem&) const = default;
};

/// A pod that has finished, or whose grace has ended without its going away, counts as an object and uses nothing else.
[[nodiscard]] QuotaItem quota_item(const Resource& resource, const Json& object, WallTime now);
/// Whether objects of the resource differ in what they use. The others just count.
[[nodiscard]] bool quota_items_differ(const Resource& resource);

/// Whether objects of the resource can use what quotas call `name`.
[[nodiscard]] bool quota_counts(const Resource& resource, std::string_view name);
/// The built-in resource whose objects can; null when there is none.
[[nodiscard]] const Resource* quota_resource(std::string_view name);

/// What a pod must say when a quota limits these resources, as Kubernetes tells it: "must specify limits.cpu for: c";
/// "" when it says all.
[[nodiscard]] std::string quota_demands(const std::vector<std::string>& names, const Json& pod_spec);

/// A ResourceQuota's spec.
class QuotaRules {
 public:
  QuotaRules() = default;
  explicit QuotaRules(const Json& spec);

  [[nodiscard]] const Amounts& hard() const { return hard_; }
  /// The names of hard() that objects of the resource can use, sorted.
  [[nodiscard]] std::vector<std::string> names_for(const Resource& resource) const;
  /// Whether the quota's scopes let it count the object.
  [[nodiscard]] bool selects(const Resource& resource, const QuotaItem& item) const;

 private:
  struct Scope {
    std::string name, op;
    std::vector<std::string> values;
  };
  static bool selects(const Scope& scope, bool pods, const QuotaItem& item);

  Amounts hard_;
  std::vector<Scope> scopes_;
};

}  // namespace brume::api
