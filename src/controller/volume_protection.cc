// Claims that pods use and volumes that claims have are not taken away under them: finalizers that stay as long.
#include <algorithm>

#include "brume/client/volumes.h"
#include "make.h"

namespace brume::controller {

namespace {

bool has(const Object& object, std::string_view finalizer) {
  const auto& all = object.finalizers();
  return std::find(all.begin(), all.end(), finalizer) != all.end();
}

Task<Status> set_finalizer(client::Client& client, const api::Resource& resource, ObjectPtr object,
                           std::string finalizer, bool wanted) {
  Json value = object->parse();
  Json& list = value["metadata"]["finalizers"];
  if (!list.is_array()) list = Json::array();
  list.erase(std::remove(list.begin(), list.end(), Json(finalizer)), list.end());
  if (wanted) list.push_back(finalizer);
  auto written = co_await client.update(resource, object->ns(), object->name(), std::move(value));
  if (written || written.error().code == Code::kNotFound) co_return Status{};
  co_return fail(written.error());
}

// Whether a pod that the claim's name stands in keeps it. Only a pod with a node counts: what has none cannot start
// with a claim that is being deleted.
bool uses(const Object& pod, const Object& claim) {
  const Json value = pod.parse();
  if (str(at(value, "spec"), "nodeName").empty()) return false;
  const Json& grace = at(value, "metadata", "deletionGracePeriodSeconds");
  const bool shut_down = pod.deleting() && grace.is_number() && grace.get<std::int64_t>() == 0;
  const Json& volumes = at(value, "spec", "volumes");
  if (!volumes.is_array()) return false;
  return std::any_of(volumes.begin(), volumes.end(), [&](const Json& volume) {
    if (client::claim_of(pod.name(), volume) != claim.name()) return false;
    return !volume.contains("ephemeral") || (!shut_down && client::foreign_claim(pod, claim).empty());
  });
}

class ClaimProtection final : public Controller {
 public:
  explicit ClaimProtection(Context& context)
      : Controller(context, "pvc-protection-controller"), claims_(watch("persistentvolumeclaims")), pods_(use("pods")) {
    pods_.add_index(client::kByClaim, client::index_by_claim);
    pods_.add_handler({.added = [this](const ObjectPtr& now) { pod_changed(now, false); },
                       .updated =
                           [this](const ObjectPtr& old, const ObjectPtr& now) {
                             pod_changed(now, false);
                             if (old->uid() != now->uid()) pod_changed(old, true);
                           },
                       .deleted = [this](const ObjectPtr& last) { pod_changed(last, true); }});
  }

 private:
  // A pod that has a node and goes on uses its claims: nothing to look at.
  void pod_changed(const ObjectPtr& pod, bool gone) {
    std::vector<std::string> keys;
    client::index_by_claim(*pod, keys);
    if (keys.empty()) return;
    if (!gone) {
      const auto& view = context_.pods.of(pod);
      if (!view.finished() && !view.node_name.empty() && !pod->deleting()) return;
    }
    for (auto& key : keys) {
      const auto claim = claims_.get(key);
      if (claim && claim->deleting()) queue_.add(std::move(key));
    }
  }

  Task<Status> reconcile(std::string key) override {
    const auto claim = claims_.get(key);
    if (!claim) co_return Status{};
    const std::string finalizer(client::kClaimProtection);
    if (!claim->deleting()) {
      if (has(*claim, finalizer)) co_return Status{};
      co_return co_await set_finalizer(client(), claims_.resource(), claim, finalizer, true);
    }
    if (!has(*claim, finalizer)) co_return Status{};
    for (const auto& pod : pods_.index(client::kByClaim, key)) {
      if (uses(*pod, *claim)) co_return Status{};
    }
    // The copy may not have a pod yet that was bound a moment ago: what is let go here cannot be held again.
    auto live = co_await client::list_all(client(), pods_.resource(), {.ns = claim->ns()});
    if (!live) co_return fail(wrap(live.error(), "live list of pods failed"));
    for (const auto& pod : live->items) {
      if (uses(*pod, *claim)) co_return Status{};
    }
    co_return co_await set_finalizer(client(), claims_.resource(), claim, finalizer, false);
  }

  Informer& claims_;
  Informer& pods_;
};

class VolumeProtection final : public Controller {
 public:
  explicit VolumeProtection(Context& context)
      : Controller(context, "pv-protection-controller"), volumes_(watch("persistentvolumes")) {}

 private:
  Task<Status> reconcile(std::string name) override {
    const auto volume = volumes_.get(name);
    if (!volume) co_return Status{};
    const bool there = has(*volume, client::kVolumeProtection);
    if (volume->deleting()) {
      if (!there || api::field_value(*volume, "status.phase") == "Bound") co_return Status{};
    } else if (there) {
      co_return Status{};
    }
    co_return co_await set_finalizer(client(), volumes_.resource(), volume, std::string(client::kVolumeProtection),
                                     !volume->deleting());
  }

  Informer& volumes_;
};

}  // namespace

std::unique_ptr<Controller> make_claim_protection(Context& context) {
  return std::make_unique<ClaimProtection>(context);
}

std::unique_ptr<Controller> make_volume_protection(Context& context) {
  return std::make_unique<VolumeProtection>(context);
}

}  // namespace brume::controller
