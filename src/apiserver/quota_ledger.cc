#include "quota_ledger.h"

#include <algorithm>

#include "brume/base/strings.h"
#include "errors.h"

namespace brume::apiserver {

using api::Amounts;
using api::QuotaItem;
using Operation = AdmissionRequest::Operation;

namespace {

const api::Resource& quotas() { return api::res("resourcequotas"); }

// requests.cpu=1,pods=2 of the amounts named.
std::string shown(const Amounts& amounts, const std::vector<std::string>& names) {
  std::vector<std::string> parts;
  for (const auto& name : names) {
    const auto found = amounts.find(name);
    if (found != amounts.end()) parts.push_back(name + "=" + found->second.to_string());
  }
  return join(parts, ",");
}

void add_named(Amounts& sum, const Amounts& usage, const std::vector<std::string>& names) {
  for (const auto& name : names) {
    if (const auto found = usage.find(name); found != usage.end()) sum[name] += found->second;
  }
}

Amounts greater(Amounts a, const Amounts& b) {
  for (const auto& [name, amount] : b) {
    if (a[name] < amount) a[name] = amount;
  }
  return a;
}

bool same_kind(const api::Resource& a, const api::Resource& b) { return a.plural == b.plural && a.group == b.group; }

}  // namespace

/// A write and what it uses.
struct QuotaLedger::Wish {
  const AdmissionRequest& request;
  const api::Resource& resource;
  QuotaItem now;
  std::optional<QuotaItem> before;  // of an update
};

QuotaLedger::Claim::~Claim() {
  if (ledger_ != nullptr) ledger_->release(ns_, id_);
}

void QuotaLedger::Claim::swap(Claim& other) noexcept {
  std::swap(ledger_, other.ledger_);
  std::swap(ns_, other.ns_);
  std::swap(id_, other.id_);
}

// Whether the write can change what its object uses.
bool QuotaLedger::matters(const AdmissionRequest& request) {
  const api::Resource& resource = *request.resource;
  if (!resource.namespaced || request.object == nullptr || resource.plural == "events") return false;
  const std::string& sub = request.subresource;
  if (request.operation == Operation::kCreate) return sub.empty();
  if (request.operation != Operation::kUpdate || request.old_object == nullptr || !resource.group.empty()) return false;
  if (resource.plural == "pods") {
    if (sub == "resize") return true;
    const auto terminates = [](const Json& pod) { return at(pod, "spec", "activeDeadlineSeconds").is_number(); };
    return sub.empty() && terminates(*request.object) != terminates(*request.old_object);
  }
  if (resource.plural == "services") return sub.empty();
  return resource.plural == "persistentvolumeclaims" && (sub.empty() || sub == "status");
}

Result<QuotaLedger::Claim> QuotaLedger::claim(const AdmissionRequest& request) {
  if (!matters(request)) return Claim();
  const auto all = objects_.all(quotas(), request.ns);
  if (all.empty()) return Claim();
  const api::Resource& resource = *request.resource;
  Wish wish{.request = request,
            .resource = resource,
            .now = api::quota_item(resource, *request.object, clock_.now()),
            .before = {}};
  if (request.old_object != nullptr) wish.before = api::quota_item(resource, *request.old_object, clock_.now());
  const std::lock_guard lock(mutex_);
  bool counted = false;
  for (const auto& quota : all) BRUME_CHECK(check(wish, *quota, counted));
  if (!counted || request.dry_run) return Claim();
  Claim claim;
  claim.ledger_ = this;
  claim.ns_ = request.ns;
  claim.id_ = ++last_id_;
  const Json& metadata = at(*request.object, "metadata");
  spaces_[request.ns].pending.push_back({.id = claim.id_,
                                         .resource = &resource,
                                         .name = std::string(str(metadata, "name")),
                                         .uid = std::string(str(metadata, "uid")),
                                         .item = std::move(wish.now)});
  return claim;
}

// Whether the quota has room; `counted` becomes true when it counts the write.
Status QuotaLedger::check(const Wish& wish, const api::Object& quota, bool& counted) {
  const AdmissionRequest& request = wish.request;
  const Json json = quota.parse();
  const api::QuotaRules rules(at(json, "spec"));
  const auto names = rules.names_for(wish.resource);
  if (names.empty() || !rules.selects(wish.resource, wish.now)) return {};
  const auto refuse = [&](const std::string& why) { return fail(forbidden(wish.resource, request.name, why)); };
  if (wish.resource.plural == "pods" && wish.resource.group.empty()) {
    const auto demands = api::quota_demands(names, at(*request.object, "spec"));
    if (!demands.empty()) return refuse("failed quota: " + quota.name() + ": " + demands);
  }
  const bool counted_before = wish.before && rules.selects(wish.resource, *wish.before);
  Amounts more;
  std::vector<std::string> grown;
  for (const auto& name : names) {
    const auto found = wish.now.usage.find(name);
    if (found == wish.now.usage.end()) continue;
    api::Quantity difference = found->second;
    if (difference.sign() < 0) return refuse("quota usage is negative for resource(s): " + name);
    if (counted_before) {
      const auto old = wish.before->usage.find(name);
      if (old != wish.before->usage.end()) difference -= old->second;
    }
    if (difference.sign() <= 0) continue;
    more[name] = difference;
    grown.push_back(name);
  }
  counted = counted || !grown.empty() || counted_before;
  // What a driver tells of a claim is counted, never refused.
  if (grown.empty() || request.subresource == "status") return {};
  const Amounts present = used(rules, wish.resource, request.ns, grown, true);
  std::vector<std::string> exceeded;
  for (const auto& name : grown) {
    const auto found = present.find(name);
    const auto total = found == present.end() ? more[name] : found->second + more[name];
    if (total > rules.hard().at(name)) exceeded.push_back(name);
  }
  if (exceeded.empty()) return {};
  return refuse("exceeded quota: " + quota.name() + ", requested: " + shown(more, exceeded) +
                ", used: " + shown(present, exceeded) + ", limited: " + shown(rules.hard(), exceeded));
}

// What the objects of the resource use of the names. With what is pending, an object that is being written counts with
// the greater of what it was and what it will be.
Amounts QuotaLedger::used(const api::QuotaRules& rules, const api::Resource& resource, const std::string& ns,
                          const std::vector<std::string>& names, bool with_pending) {
  Amounts sum;
  for (const auto& name : names) sum[name] = api::Quantity();
  Space& space = spaces_[ns];
  std::vector<const Pending*> pending;
  for (const Pending& one : space.pending) {
    if (with_pending && same_kind(*one.resource, resource)) pending.push_back(&one);
  }
  if (!api::quota_items_differ(resource)) {
    if (!rules.selects(resource, {})) return sum;
    auto count = static_cast<std::int64_t>(objects_.all(resource, ns).size());
    for (const Pending* one : pending) {
      const auto there = objects_.find(*one->resource, ns, one->name);
      count += there && there->uid() == one->uid ? 0 : 1;
    }
    for (auto& [name, amount] : sum) amount = api::Quantity(count);
    return sum;
  }
  ByUid& known = space.known[&resource];
  refresh(known, resource, ns);
  for (const auto& [uid, one] : known) {
    Amounts most = rules.selects(resource, one.item) ? one.item.usage : Amounts();
    for (const Pending* changing : pending) {  // several writes of one object may be under way
      if (changing->uid != uid || !rules.selects(resource, changing->item)) continue;
      most = greater(most, changing->item.usage);
    }
    add_named(sum, most, names);
  }
  for (const Pending* one : pending) {
    if (!known.contains(one->uid) && rules.selects(resource, one->item)) add_named(sum, one->item.usage, names);
  }
  return sum;
}

// Makes `known` what the cache holds; only objects that are new or have changed are decoded.
void QuotaLedger::refresh(ByUid& known, const api::Resource& resource, const std::string& ns) {
  ByUid next;
  for (auto& object : objects_.all(resource, ns)) {
    const auto found = known.find(object->uid());
    // What a pod that is being deleted uses depends on the time, too.
    if (found != known.end() && found->second.object == object && !object->deleting()) {
      next.insert(known.extract(found));
    } else {
      QuotaItem item = api::quota_item(resource, object->parse(), clock_.now());
      const std::string uid = object->uid();
      next.emplace(uid, Known{std::move(object), std::move(item)});
    }
  }
  known = std::move(next);
}

std::optional<Json> QuotaLedger::counted(const api::Object& quota, const api::Resource& resource) {
  Json json = quota.parse();
  const api::QuotaRules rules(at(json, "spec"));
  const auto names = rules.names_for(resource);
  if (names.empty()) return {};
  Amounts sum;
  {
    const std::lock_guard lock(mutex_);
    sum = used(rules, resource, quota.ns(), names, false);
    sweep();
  }
  bool changed = false;
  const Json& present = at(json, "status", "used");
  for (const auto& name : names) {
    changed = changed || !present.contains(name) || api::amount_of(present, name) != sum[name];
  }
  if (!changed) return {};
  for (const auto& name : names) json["status"]["used"][name] = sum[name].to_string();
  return json;
}

void QuotaLedger::release(const std::string& ns, std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto space = spaces_.find(ns);
  if (space == spaces_.end()) return;
  std::erase_if(space->second.pending, [id](const Pending& one) { return one.id == id; });
}

// Forgets namespaces whose quotas, or which themselves, are gone.
void QuotaLedger::sweep() {
  if (spaces_.size() < sweep_at_) return;
  std::erase_if(spaces_, [this](const auto& entry) {
    return entry.second.pending.empty() && objects_.all(quotas(), entry.first).empty();
  });
  sweep_at_ = std::max<std::size_t>(2 * spaces_.size(), 16);
}

}  // namespace brume::apiserver
