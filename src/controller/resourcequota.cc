// ResourceQuotas: status tells what spec.hard names and how much of it the namespace uses. The API server counts each
// object that it lets in; this controller counts again when objects go, change or finish, and when a spec changes.
#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "brume/api/quota.h"
#include "make.h"

namespace brume::controller {

namespace {

using api::Amounts;
using api::QuotaItem;
using api::QuotaRules;

constexpr auto kSoon = std::chrono::milliseconds(20);         // what goes with one command is counted at once
constexpr auto kLater = std::chrono::seconds(1);              // the API server has counted what came
constexpr auto kCheckStatus = std::chrono::seconds(5);        // that somebody else has written
constexpr auto kResync = std::chrono::minutes(5);             // upstream's --resource-quota-sync-period
constexpr auto kPastGrace = std::chrono::milliseconds(1100);  // times have whole seconds

class ResourceQuotaController final : public Controller {
 public:
  explicit ResourceQuotaController(Context& context);

 private:
  /// A resource that some quota counts.
  struct Counted {
    Informer* informer = nullptr;
    std::unique_ptr<client::Projection<QuotaItem>> items;  // of a resource whose objects differ in use
  };

  Counted& follow(const api::Resource& resource);
  std::vector<ObjectPtr> counting(const api::Resource& resource, const std::string& ns);
  void object_changed(const api::Resource& resource, const ObjectPtr& object, WallTime::duration delay);
  void object_updated(const api::Resource& resource, const ObjectPtr& old, const ObjectPtr& now);
  Task<Status> reconcile(std::string key) override;
  void add_usage(const api::Resource& resource, const QuotaRules& rules, const std::string& ns, Amounts& used,
                 WallTime::duration& again);
  Task<Status> report(ObjectPtr quota, Json value, Amounts used);

  Informer& quotas_;
  client::Projection<QuotaRules> rules_;
  std::map<const api::Resource*, Counted> counted_;
};

ResourceQuotaController::ResourceQuotaController(Context& context)
    : Controller(context, "resourcequota-controller"),
      quotas_(use("resourcequotas")),
      rules_(quotas_, [](const Object& quota) { return QuotaRules(at(quota.parse(), "spec")); }) {
  const auto changed = [this](const ObjectPtr& old, const ObjectPtr& now) {
    const Json spec = at(now->parse(), "spec");
    if (!old || at(old->parse(), "spec") != spec) {
      enqueue(now);
    } else {
      queue_.add_after(now->key(), kCheckStatus);
    }
  };
  quotas_.add_handler({.added = [changed](const ObjectPtr& now) { changed(nullptr, now); }, .updated = changed});
}

// What to reconcile
// ----------------------------------------------------------------------------------------------------

// Resources are watched from when the first quota names them.
ResourceQuotaController::Counted& ResourceQuotaController::follow(const api::Resource& resource) {
  auto& counted = counted_[&resource];
  if (counted.informer != nullptr) return counted;
  counted.informer = &context_.informers.informer(resource);
  if (api::quota_items_differ(resource)) {
    counted.items = std::make_unique<client::Projection<QuotaItem>>(
        *counted.informer,
        [this, &resource](const Object& object) { return api::quota_item(resource, object.parse(), clock().now()); });
  }
  const auto come = [this, &resource](const ObjectPtr& now) { object_changed(resource, now, kLater); };
  const auto change = [this, &resource](const ObjectPtr& old, const ObjectPtr& now) {
    object_updated(resource, old, now);
  };
  const auto go = [this, &resource](const ObjectPtr& last) { object_changed(resource, last, kSoon); };
  counted.informer->add_handler({.added = come, .updated = change, .deleted = go});
  return counted;
}

void ResourceQuotaController::object_changed(const api::Resource& resource, const ObjectPtr& object,
                                             WallTime::duration delay) {
  for (const auto& quota : counting(resource, object->ns())) queue_.add_after(quota->key(), delay);
}

// The namespace's quotas that count the resource.
std::vector<ObjectPtr> ResourceQuotaController::counting(const api::Resource& resource, const std::string& ns) {
  std::vector<ObjectPtr> out;
  if (quotas_.size() == 0) return out;
  for (auto& quota : quotas_.list(ns)) {
    if (!rules_.of(quota).names_for(resource).empty()) out.push_back(std::move(quota));
  }
  return out;
}

void ResourceQuotaController::object_updated(const api::Resource& resource, const ObjectPtr& old,
                                             const ObjectPtr& now) {
  auto& items = counted_[&resource].items;
  // What only counts does not change.
  if (!items || counting(resource, now->ns()).empty()) return;
  const bool ends = now->deleting() && !old->deleting();
  // Scopes count too: the quota that an object has left says so at once.
  if (ends || items->decode(*old) != items->decode(*now)) object_changed(resource, now, kSoon);
}

// Reconcile
// ------------------------------------------------------------------------------------------------------------

Task<Status> ResourceQuotaController::reconcile(std::string key) {
  const auto first = quotas_.get(key);
  if (!first) co_return Status{};
  std::set<const api::Resource*> resources;
  for (const auto& [name, amount] : rules_.of(first).hard()) {
    if (const auto* resource = api::quota_resource(name)) resources.insert(resource);
  }
  for (const auto* resource : resources) co_await follow(*resource).informer->wait_synced();
  const auto quota = quotas_.get(key);
  if (!quota || quota->uid() != first->uid()) co_return Status{};
  const Json value = quota->parse();
  const QuotaRules rules(at(value, "spec"));
  Amounts used;
  WallTime::duration again = kResync;
  for (const auto* resource : resources) add_usage(*resource, rules, quota->ns(), used, again);
  BRUME_CO_CHECK(co_await report(quota, value, std::move(used)));
  queue_.add_after(key, again);
  co_return Status{};
}

// `again` becomes the time to the first change that no event will tell of, if that is less.
void ResourceQuotaController::add_usage(const api::Resource& resource, const QuotaRules& rules, const std::string& ns,
                                        Amounts& used, WallTime::duration& again) {
  const auto names = rules.names_for(resource);
  for (const auto& name : names) used[name] = api::Quantity();
  const auto& counted = counted_[&resource];
  const auto objects = counted.informer->list(ns);
  if (!counted.items) {
    const bool counts = rules.selects(resource, {});
    for (const auto& name : names) used[name] = api::Quantity(counts ? static_cast<std::int64_t>(objects.size()) : 0);
    return;
  }
  const auto now = clock().now();
  const auto count = [&](const QuotaItem& item) {
    if (item.ends) again = std::min<WallTime::duration>(again, *item.ends - now + kPastGrace);
    if (!rules.selects(resource, item)) return;
    for (const auto& name : names) {
      if (const auto found = item.usage.find(name); found != item.usage.end()) used[name] += found->second;
    }
  };
  for (const auto& object : objects) {
    const QuotaItem& item = counted.items->of(object);
    const bool over = item.ends && now > *item.ends;  // what it uses is less by now
    count(over ? counted.items->decode(*object) : item);
  }
}

// With the revision read: what the API server has counted meanwhile must not be undone.
Task<Status> ResourceQuotaController::report(ObjectPtr quota, Json value, Amounts used) {
  const Json hard = at(value, "spec", "hard");
  const Json before = at(value, "status");
  const bool same = at(before, "hard").is_object() && at(before, "used").is_object() &&
                    api::amounts_of(at(before, "hard")) == api::amounts_of(hard) &&
                    api::amounts_of(at(before, "used")) == used;
  if (same || (!hard.is_object() && at(before, "hard").is_null())) co_return Status{};
  value["status"] = {{"hard", hard.is_object() ? hard : Json::object()}, {"used", api::amounts_json(used)}};
  auto done = co_await client().update(quotas_.resource(), quota->ns(), quota->name(), std::move(value),
                                       {.subresource = "status"});
  if (!done && done.error().code != Code::kNotFound) co_return fail(done.error());
  co_return Status{};
}

}  // namespace

std::unique_ptr<Controller> make_resource_quota(Context& context) {
  return std::make_unique<ResourceQuotaController>(context);
}

}  // namespace brume::controller
