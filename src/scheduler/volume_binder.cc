#include "volume_binder.h"

#include <algorithm>
#include <set>

#include "brume/api/selector.h"
#include "brume/base/json.h"
#include "volume_common.h"

namespace brume::scheduler {

namespace {

ObjectPtr with(const ObjectPtr& object, const std::function<void(Json&)>& change) {
  Json value = object->parse();
  change(value);
  auto made = api::Object::from_json(value);
  return made ? *made : object;  // what was an object with metadata still is
}

}  // namespace

VolumeBinder::VolumeBinder(Handle& handle, std::chrono::seconds timeout)
    : handle_(handle),
      timeout_(timeout),
      volumes_(handle.informers.informer("persistentvolumes")),
      claims_(handle.informers.informer("persistentvolumeclaims")),
      classes_(handle.informers.informer("storageclasses.storage.k8s.io")),
      drivers_(handle.informers.informer("csidrivers.storage.k8s.io")),
      capacities_(handle.informers.informer("csistoragecapacities.storage.k8s.io")),
      fresh_volumes_(volumes_),
      fresh_claims_(claims_),
      volume_views_(volumes_, client::decode_volume) {
  const auto woken = [this](const ObjectPtr&) { wake(); };
  const auto updated = [this](const ObjectPtr&, const ObjectPtr&) { wake(); };
  volumes_.add_handler({.added = woken, .updated = updated, .deleted = woken});
  claims_.add_handler({.added = woken, .updated = updated, .deleted = [this](const ObjectPtr& claim) {
                         fresh_claims_.forget(claim->key());
                         wake();
                       }});
  handle.informers.informer("pods").add_handler({.added = nullptr, .updated = nullptr, .deleted = woken});
}

// Looking
// ----------------------------------------------------------------------------------------------------------

Result<PodClaims> VolumeBinder::look_up(const PodInfo& pod) {
  PodClaims out;
  for (const auto& volume : pod.spec->volumes) {
    if (volume.claim.empty()) continue;
    const auto claim = fresh_claims_.get(pod.ns() + "/" + volume.claim);
    if (!claim) {
      if (!volume.ephemeral) return fail(Code::kNotFound, not_found("persistentvolumeclaim", volume.claim));
      return fail(Code::kNotFound, "waiting for ephemeral volume controller to create the persistentvolumeclaim \"" +
                                       volume.claim + "\"");
    }
    auto view = client::decode_claim(*claim);
    const std::string named = "persistentvolumeclaim \"" + claim->name() + "\" ";
    if (view.phase == "Lost") {
      return fail(Code::kNotFound, named + "bound to non-existent persistentvolume \"" + view.volume_name + "\"");
    }
    if (claim->deleting()) return fail(Code::kNotFound, named + "is being deleted");
    if (volume.ephemeral) {
      if (auto why = client::foreign_claim(*pod.object, *claim); !why.empty()) return fail(Code::kConflict, why);
    }
    if (view.bound()) {
      BoundClaim bound{.claim = claim, .volume = fresh_volumes_.get(view.volume_name)};
      if (bound.volume) bound.view = client::decode_volume(*bound.volume);
      out.bound.push_back(std::move(bound));
      continue;
    }
    const auto class_object = view.class_name().empty() ? nullptr : classes_.get(view.class_name());
    auto storage_class = class_object ? client::decode_class(*class_object) : client::ClassView{};
    if (storage_class.delayed && view.volume_name.empty()) {
      out.open.push_back({claim, std::move(view), std::move(storage_class)});
    } else {
      out.immediate = true;
    }
  }
  std::ranges::sort(out.open, [](const auto& a, const auto& b) { return a.view.request < b.view.request; });
  if (!out.open.empty() && !out.immediate) gather_choices(out);
  return out;
}

void VolumeBinder::gather_choices(PodClaims& claims) {
  std::set<std::string> classes;
  for (const auto& open : claims.open) classes.insert(open.view.class_name());
  for (const auto& volume : fresh_volumes_.all()) {
    if (fresh_volumes_.is_copy(volume)) {
      const auto& view = volume_views_.of(volume);
      if (classes.contains(view.storage_class)) claims.choices.push_back({volume, &view});
      continue;
    }
    auto view = std::make_unique<client::VolumeView>(client::decode_volume(*volume));
    if (!classes.contains(view->storage_class)) continue;
    claims.choices.push_back({volume, view.get()});
    claims.views.push_back(std::move(view));
  }
}

VolumeReasons VolumeBinder::find(PodClaims& claims, const NodeInfo& node) const {
  VolumeReasons out;
  for (const auto& bound : claims.bound) {
    if (!bound.volume) {
      out.volume_gone = true;
      break;
    }
    if (!bound.view.allows(*node.object)) {
      out.node_conflict = true;
      break;
    }
  }
  VolumePlan plan;
  std::set<std::string> taken;
  for (const auto& open : claims.open) {
    if (!open.view.selected_node.empty()) {
      // A volume is being made for it already.
      if (open.view.selected_node != node.name) out.no_volume = true;
    } else if (auto volume = client::find_volume(
                   *open.claim, open.view, claims.choices,
                   {.node = node.object.get(), .delayed = true, .taken = [&](const std::string& name) {
                      return taken.contains(name);
                    }})) {
      taken.insert(volume->name());
      plan.bindings.push_back({std::move(volume), open.claim});
      continue;
    }
    const auto& provisioner = open.storage_class.provisioner;
    const bool made = !provisioner.empty() && provisioner != client::kNoProvisioner;
    if (!made || !open.storage_class.allows(*node.object)) out.no_volume = true;
    if (out.no_volume) break;
    if (!has_space(open, open.view.class_name(), node)) {
      out.no_space = true;
      break;
    }
    plan.provisions.push_back(open.claim);
  }
  if (out.none() && !plan.empty()) claims.plans[node.name] = std::move(plan);
  return out;
}

// Whether a CSI driver that reports its capacity (KEP-1472) has enough for this node.
bool VolumeBinder::has_space(const OpenClaim& claim, const std::string& class_name, const NodeInfo& node) const {
  const auto driver = drivers_.get(claim.storage_class.provisioner);
  if (!driver || !flag(at(driver->parse(), "spec"), "storageCapacity")) return true;
  bool enough = false;
  capacities_.each([&](const ObjectPtr& capacity) {
    if (enough) return;
    const Json value = capacity->parse();
    if (str(value, "storageClassName") != class_name || !at(value, "nodeTopology").is_object()) return;
    const auto most =
        str(value, "maximumVolumeSize").empty() ? str(value, "capacity") : str(value, "maximumVolumeSize");
    if (most.empty() || api::quantity_or_zero(most) < claim.view.request) return;
    const auto selector = api::LabelSelector::from_json(at(value, "nodeTopology"));
    enough = selector && selector->matches(node.object->labels());
  });
  return enough;
}

// Promising
// --------------------------------------------------------------------------------------------------------

void VolumeBinder::assume(VolumePlan& plan, const std::string& node) {
  for (auto& [volume, claim] : plan.bindings) {
    const auto view = client::decode_volume(*volume);
    const bool ours = view.is_for(*claim);
    if (ours && view.claim.value_or(client::ClaimRef{}).uid == claim->uid()) continue;
    volume = with(volume, [&](Json& value) {
      value["spec"]["claimRef"] = client::ObjectReference::to(*claim).to_json();
      if (!ours) value["metadata"]["annotations"][client::kBoundByController] = "yes";
    });
    fresh_volumes_.assume(volume);
  }
  for (auto& claim : plan.provisions) {
    claim = with(claim, [&](Json& value) { value["metadata"]["annotations"][client::kSelectedNode] = node; });
    fresh_claims_.assume(claim);
  }
}

void VolumeBinder::revert(const VolumePlan& plan) {
  for (const auto& binding : plan.bindings) fresh_volumes_.forget(binding.volume->key());
  for (const auto& claim : plan.provisions) fresh_claims_.forget(claim->key());
}

// Binding
// ----------------------------------------------------------------------------------------------------------

Task<Status> VolumeBinder::write(VolumePlan& plan) {
  for (auto& binding : plan.bindings) {
    auto written =
        co_await handle_.client().update(volumes_.resource(), "", binding.volume->name(), binding.volume->parse());
    if (!written) co_return fail(written.error());
    binding.volume = *written;
    fresh_volumes_.wrote(binding.volume);
  }
  for (auto& claim : plan.provisions) {
    auto written = co_await handle_.client().update(claims_.resource(), claim->ns(), claim->name(), claim->parse());
    if (!written) co_return fail(written.error());
    claim = *written;
    fresh_claims_.wrote(claim);
  }
  co_return Status{};
}

Task<Status> VolumeBinder::bind(VolumePlan plan, PodPtr pod, std::string node) {
  BRUME_CO_CHECK(co_await write(plan));
  struct Entry {  // taken out however the wait ends
    VolumeBinder& binder;
    std::uint64_t key;
    Waiter waiter;
    std::string uid;
    Entry(VolumeBinder& b, std::string pod_uid, std::chrono::steady_clock::time_point until)
        : binder(b),
          key(b.next_waiter_++),
          waiter{Event(b.handle_.informers.executor()), until},
          uid(std::move(pod_uid)) {
      binder.waiters_[key] = &waiter;
      binder.handle_.waiting.wake_when_ended(uid, [this] { waiter.woken.notify(); });
      binder.arm();
    }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    ~Entry() {
      binder.handle_.waiting.wake_when_ended(uid, nullptr);
      binder.waiters_.erase(key);
    }
  } entry(*this, pod->uid(), handle_.clock().steady() + timeout_);
  while (true) {
    if (const auto* why = handle_.waiting.ended(pod->uid()))
      co_return fail(Code::kConflict, "binding volumes: " + *why);
    const auto bound = done(plan, *pod, node);
    if (!bound) co_return fail(wrap(bound.error(), "binding volumes"));
    if (*bound) co_return Status{};
    if (handle_.clock().steady() >= entry.waiter.until) {
      co_return fail(Code::kTimeout, "binding volumes: context deadline exceeded");
    }
    co_await entry.waiter.woken.wait();
  }
}

Result<bool> VolumeBinder::done(const VolumePlan& plan, const PodInfo& pod, const std::string& node) const {
  const auto* info = handle_.nodes.find(node);
  if (info == nullptr) {
    return fail(Code::kNotFound, "failed to get node \"" + node + "\": " + not_found("node", node));
  }
  const auto now = handle_.informers.informer("pods").get(pod.ns(), pod.name());
  if (!now || now->uid() != pod.uid()) {
    return fail(Code::kNotFound, "pod does not exist any more: " + not_found("pod", pod.name()));
  }
  for (const auto& binding : plan.bindings) {
    BRUME_TRY(const bool bound, binding_done(binding, *info));
    if (!bound) return false;
  }
  for (const auto& claim : plan.provisions) {
    BRUME_TRY(const bool bound, provision_done(claim, *info));
    if (!bound) return false;
  }
  return true;
}

Result<bool> VolumeBinder::binding_done(const VolumePlan::Binding& binding, const NodeInfo& node) const {
  const auto volume = volumes_.get(binding.volume->name());
  if (!volume) {
    return fail(Code::kNotFound,
                "failed to check binding: could not find v1.PersistentVolume \"" + binding.volume->name() + "\"");
  }
  const auto claim = claims_.get(binding.claim->key());
  if (!claim) {
    return fail(Code::kNotFound,
                "failed to check binding: could not find v1.PersistentVolumeClaim \"" + binding.claim->key() + "\"");
  }
  if (volume->resource_version() < binding.volume->resource_version()) return false;
  const auto view = client::decode_volume(*volume);
  if (!view.allows(*node.object)) {
    return fail(Code::kConflict, "pv \"" + volume->name() + "\" node affinity doesn't match node \"" + node.name +
                                     "\": no matching NodeSelectorTerms");
  }
  if (!view.claim || view.claim->uid.empty()) {
    return fail(Code::kConflict, "ClaimRef got reset for pv \"" + volume->name() + "\"");
  }
  return client::decode_claim(*claim).bound();
}

Result<bool> VolumeBinder::provision_done(const ObjectPtr& wanted, const NodeInfo& node) const {
  const auto claim = claims_.get(wanted->key());
  if (!claim) {
    return fail(Code::kNotFound,
                "failed to check provisioning pvc: could not find v1.PersistentVolumeClaim \"" + wanted->key() + "\"");
  }
  if (claim->resource_version() < wanted->resource_version()) return false;
  const auto view = client::decode_claim(*claim);
  if (view.selected_node != node.name) {
    return fail(Code::kConflict, "provisioning failed for PVC \"" + claim->name() + "\"");
  }
  if (view.volume_name.empty()) return false;
  const auto volume = volumes_.get(view.volume_name);
  if (!volume) return false;
  if (!client::decode_volume(*volume).allows(*node.object)) {
    return fail(Code::kConflict, "pv \"" + volume->name() + "\" node affinity doesn't match node \"" + node.name +
                                     "\": no matching NodeSelectorTerms");
  }
  return view.bound();
}

void VolumeBinder::wake() {
  for (const auto& [key, waiter] : waiters_) waiter->woken.notify();
}

// One sleeper for all that wait: their time is the same, so the first that came ends first.
void VolumeBinder::arm() {
  if (armed_) return;
  armed_ = true;
  handle_.tasks.spawn("volume binding timeout", expire());
}

Task<void> VolumeBinder::expire() {
  while (!waiters_.empty()) {
    const auto now = handle_.clock().steady();
    const auto until = waiters_.begin()->second->until;
    if (until > now) {
      co_await handle_.clock().sleep(until - now);
      continue;
    }
    for (const auto& [key, waiter] : waiters_) {
      if (waiter->until <= now) waiter->woken.notify();
    }
    co_await yield_now();
  }
  armed_ = false;
}

}  // namespace brume::scheduler
