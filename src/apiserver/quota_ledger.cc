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
  if (!space_) return;
  const std::lock_guard lock(space_->mutex);
  std::erase_if(space_->pending, [this](const Pending& one) { return one.id == id_; });
}

void QuotaLedger::Claim::swap(Claim& other) noexcept {
  std::swap(space_, other.space_);
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
  if (!matters(request) || objects_.all(quotas(), request.ns).empty()) return Claim();
  const api::Resource& resource = *request.resource;
  Wish wish{.request = request,
            .resource = resource,
            .now = api::quota_item(resource, *request.object, clock_.now()),
            .before = {}};
  if (request.old_object != nullptr) wish.before = api::quota_item(resource, *request.old_object, clock_.now());
  auto space = space_of(request.ns);
  const std::lock_guard lock(space->mutex);
  const auto all = objects_.all(quotas(), request.ns);
  forget_others(*space, all);
  std::vector<Quota*> counting;
  for (const auto& object : all) {
    Quota& quota = quota_of(*space, object);
    if (!quota.rules.names_for(resource).empty() && quota.rules.selects(resource, wish.now)) counting.push_back(&quota);
  }
  if (counting.empty()) return Claim();
  if (api::quota_items_differ(resource)) refresh(*space, resource, request.ns);
  bool counted = false;
  for (Quota* quota : counting) BRUME_CHECK(check(wish, *space, *quota, counted));
  if (!counted || request.dry_run) return Claim();
  const Json& metadata = at(*request.object, "metadata");
  space->pending.push_back({.id = ++space->last_id,
                            .resource = &resource,
                            .name = std::string(str(metadata, "name")),
                            .uid = std::string(str(metadata, "uid")),
                            .item = std::move(wish.now)});
  Claim claim;
  claim.id_ = space->last_id;
  claim.space_ = space;
  return claim;
}

// Whether the quota, which counts objects like this, has room; `counted` becomes true when it counts the write.
Status QuotaLedger::check(const Wish& wish, Space& space, Quota& quota, bool& counted) const {
  const AdmissionRequest& request = wish.request;
  const api::QuotaRules& rules = quota.rules;
  const auto names = rules.names_for(wish.resource);
  const auto refuse = [&](const std::string& why) { return fail(forbidden(wish.resource, request.name, why)); };
  if (wish.resource.plural == "pods" && wish.resource.group.empty()) {
    const auto demands = api::quota_demands(names, at(*request.object, "spec"));
    if (!demands.empty()) return refuse("failed quota: " + quota.object->name() + ": " + demands);
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
  const Amounts present = used(space, quota, wish.resource, request.ns, grown, true);
  std::vector<std::string> exceeded;
  for (const auto& name : grown) {
    const auto found = present.find(name);
    const auto total = found == present.end() ? more[name] : found->second + more[name];
    if (total > rules.hard().at(name)) exceeded.push_back(name);
  }
  if (exceeded.empty()) return {};
  return refuse("exceeded quota: " + quota.object->name() + ", requested: " + shown(more, exceeded) +
                ", used: " + shown(present, exceeded) + ", limited: " + shown(rules.hard(), exceeded));
}

// What is known of the quota, read anew when its spec is another.
QuotaLedger::Quota& QuotaLedger::quota_of(Space& space, const api::ObjectPtr& object) {
  Quota& quota = space.quotas[object->uid()];
  if (quota.object == object) return quota;
  const Json json = object->parse();
  const Json& spec = at(json, "spec");
  if (!quota.object || quota.spec != spec) {
    quota.spec = spec;
    quota.rules = api::QuotaRules(spec);
    quota.totals.clear();
  }
  quota.object = object;
  return quota;
}

void QuotaLedger::forget_others(Space& space, const std::vector<api::ObjectPtr>& quotas) {
  if (space.quotas.size() <= quotas.size()) return;
  std::erase_if(space.quotas, [&](const auto& entry) {
    return std::none_of(quotas.begin(), quotas.end(), [&](const auto& quota) { return quota->uid() == entry.first; });
  });
}

// What objects use ----------------------------------------------------------------------------------------------------

// What the objects of the resource use of the names. With what is pending, an object that is being written counts with
// the greater of what it was and what it will be.
Amounts QuotaLedger::used(Space& space, Quota& quota, const api::Resource& resource, const std::string& ns,
                          const std::vector<std::string>& names, bool with_pending) const {
  if (!api::quota_items_differ(resource)) return number_of(space, quota, resource, ns, names, with_pending);
  const Total& total = total_of(space, quota, resource);
  Amounts sum;
  for (const auto& name : names) {
    const auto found = total.used.find(name);
    const Sum known = found == total.used.end() ? Sum() : found->second;
    sum[name] = api::Quantity::from_nano(known.nano, known.format);
  }
  if (with_pending) add_pending(space, quota, resource, names, sum);
  return sum;
}

// Of objects that are all alike. One look at the cache tells both what is there and which of the pending writes is: an
// object that is committed between two looks would count in neither.
Amounts QuotaLedger::number_of(const Space& space, const Quota& quota, const api::Resource& resource,
                               const std::string& ns, const std::vector<std::string>& names, bool with_pending) const {
  std::int64_t count = 0;
  if (quota.rules.selects(resource, {})) {
    const auto objects = objects_.all(resource, ns);
    count = static_cast<std::int64_t>(objects.size());
    for (const Pending& one : space.pending) {
      if (!with_pending || !same_kind(*one.resource, resource)) continue;
      const auto there = std::ranges::lower_bound(objects, one.name, {}, &api::Object::name);
      count += there != objects.end() && (*there)->uid() == one.uid ? 0 : 1;
    }
  }
  Amounts out;
  for (const auto& name : names) out[name] = api::Quantity(count);
  return out;
}

void QuotaLedger::add_pending(Space& space, const Quota& quota, const api::Resource& resource,
                              const std::vector<std::string>& names, Amounts& sum) {
  struct Change {
    Amounts before, most;
  };
  std::map<std::string_view, Change> changes;  // by uid: several writes of one object may be under way
  for (const Pending& one : space.pending) {
    if (!same_kind(*one.resource, resource) || !quota.rules.selects(resource, one.item)) continue;
    const Known* known = known_of(space, resource, one);
    if (known == nullptr) {
      add_named(sum, one.item.usage, names);
      continue;
    }
    auto [change, first] = changes.try_emplace(one.uid);
    if (first && quota.rules.selects(resource, known->item)) {
      change->second.before = change->second.most = known->item.usage;
    }
    change->second.most = greater(std::move(change->second.most), one.item.usage);
  }
  for (const auto& [uid, change] : changes) {
    add_named(sum, change.most, names);
    for (const auto& name : names) {
      if (const auto found = change.before.find(name); found != change.before.end()) sum[name] -= found->second;
    }
  }
}

const QuotaLedger::Known* QuotaLedger::known_of(Space& space, const api::Resource& resource, const Pending& pending) {
  const auto& known = space.known[&resource];
  const auto found = std::lower_bound(known.begin(), known.end(), pending.name,
                                      [](const auto& one, const auto& name) { return one->object->name() < name; });
  if (found == known.end() || (*found)->object->uid() != pending.uid) return nullptr;
  return found->get();
}

const QuotaLedger::Total& QuotaLedger::total_of(Space& space, Quota& quota, const api::Resource& resource) {
  const auto [entry, fresh] = quota.totals.try_emplace(&resource);
  Total& total = entry->second;
  if (!fresh) return total;
  total.names = quota.rules.names_for(resource);
  for (const auto& one : space.known[&resource]) {
    if (quota.rules.selects(resource, one->item)) add(total, one->item, 1);
  }
  return total;
}

void QuotaLedger::add(Total& total, const QuotaItem& item, int sign) {
  for (const auto& name : total.names) {
    const auto found = item.usage.find(name);
    if (found == item.usage.end()) continue;
    Sum& sum = total.used[name];
    if (sum.nano == 0) sum.format = found->second.format();
    sum.nano += sign * found->second.nano_value();
  }
}

void QuotaLedger::count(Space& space, const api::Resource& resource, const QuotaItem& item, int sign) {
  for (auto& [uid, quota] : space.quotas) {
    const auto total = quota.totals.find(&resource);
    if (total != quota.totals.end() && quota.rules.selects(resource, item)) add(total->second, item, sign);
  }
}

// Makes `known` what the cache holds, and the totals what that uses. Only objects that are new or have changed are
// decoded, and those of which the time has come that they use less.
void QuotaLedger::refresh(Space& space, const api::Resource& resource, const std::string& ns) const {
  const auto now = clock_.now();
  auto& known = space.known[&resource];
  auto objects = objects_.all(resource, ns);
  std::vector<std::unique_ptr<Known>> next;
  next.reserve(objects.size());
  auto old = known.begin();
  const auto drop = [&] { count(space, resource, (*old++)->item, -1); };
  for (auto& object : objects) {
    while (old != known.end() && (*old)->object->name() < object->name()) drop();
    if (old != known.end() && (*old)->object->name() == object->name()) {
      const auto& ends = (*old)->item.ends;
      if ((*old)->object == object && (!ends || now <= *ends)) {
        next.push_back(std::move(*old++));
        continue;
      }
      drop();
    }
    auto fresh = std::make_unique<Known>(Known{object, api::quota_item(resource, object->parse(), now)});
    count(space, resource, fresh->item, 1);
    next.push_back(std::move(fresh));
  }
  while (old != known.end()) drop();
  known = std::move(next);
}

// What a quota's status tells
// ------------------------------------------------------------------------------------------

std::optional<Json> QuotaLedger::counted(const api::ObjectPtr& quota, const api::Resource& resource) {
  std::vector<std::string> names;
  Amounts sum;
  {
    const auto space = space_of(quota->ns());
    const std::lock_guard lock(space->mutex);
    Quota& own = quota_of(*space, quota);
    names = own.rules.names_for(resource);
    if (names.empty()) return {};
    if (api::quota_items_differ(resource)) refresh(*space, resource, quota->ns());
    sum = used(*space, own, resource, quota->ns(), names, false);
  }
  Json json = quota->parse();
  bool changed = false;
  const Json& present = at(json, "status", "used");
  for (const auto& name : names) {
    changed = changed || !present.contains(name) || api::amount_of(present, name) != sum[name];
  }
  if (!changed) return {};
  for (const auto& name : names) json["status"]["used"][name] = sum[name].to_string();
  return json;
}

std::shared_ptr<QuotaLedger::Space> QuotaLedger::space_of(const std::string& ns) {
  const std::lock_guard lock(mutex_);
  auto& slot = spaces_[ns];
  if (slot) return slot;
  slot = std::make_shared<Space>();
  auto out = slot;
  if (spaces_.size() >= sweep_at_) sweep();
  return out;
}

// Forgets namespaces whose quotas, or which themselves, are gone. One that a write holds, or has room in, stays: its
// writers must find each other.
void QuotaLedger::sweep() {
  std::erase_if(spaces_, [this](const auto& entry) {
    return entry.second.use_count() == 1 && objects_.all(quotas(), entry.first).empty();
  });
  sweep_at_ = std::max<std::size_t>(2 * spaces_.size(), 16);
}

}  // namespace brume::apiserver
