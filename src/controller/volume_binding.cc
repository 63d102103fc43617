#include "volume_binding.h"

#include "make.h"

namespace brume::controller {

namespace {

constexpr std::string_view kByVolume = "volume";  // claims by spec.volumeName
constexpr std::string_view kByClaimRef = "claimRef";
constexpr auto kAfterConflict = std::chrono::milliseconds(20);
// How long the scheduler has before a claim says that it waits for a pod; kube-controller-manager's resync period.
constexpr auto kSchedulingTime = std::chrono::seconds(15);

void index_by_volume(const Object& claim, std::vector<std::string>& values) {
  if (auto name = api::field_value(claim, "spec.volumeName"); !name.empty()) values.push_back(std::move(name));
}

void index_by_claim_ref(const Object& volume, std::vector<std::string>& values) {
  const auto name = api::field_value(volume, "spec.claimRef.name");
  if (!name.empty()) values.push_back(api::field_value(volume, "spec.claimRef.namespace") + "/" + name);
}

}  // namespace

VolumeBinding::VolumeBinding(Context& context)
    : Controller(context, "persistentvolume-controller", {.workers = 1}),
      volumes_(use("persistentvolumes")),
      claims_(use("persistentvolumeclaims")),
      classes_(use("storageclasses.storage.k8s.io")),
      pods_(use("pods")),
      fresh_volumes_(volumes_),
      fresh_claims_(claims_),
      volume_views_(volumes_, client::decode_volume) {
  claims_.add_index(kByVolume, index_by_volume);
  volumes_.add_index(kByClaimRef, index_by_claim_ref);
  pods_.add_index(client::kByClaim, client::index_by_claim);
  volumes_.add_handler({.added = [this](const ObjectPtr& now) { volume_changed(now); },
                        .updated = [this](const ObjectPtr&, const ObjectPtr& now) { volume_changed(now); },
                        .deleted =
                            [this](const ObjectPtr& last) {
                              const auto view = client::decode_volume(*last);
                              if (view.claim) enqueue_claim(view.claim->key());
                            }});
  claims_.add_handler({.added = [this](const ObjectPtr& now) { enqueue_claim(now->key()); },
                       .updated = [this](const ObjectPtr&, const ObjectPtr& now) { enqueue_claim(now->key()); },
                       .deleted = [this](const ObjectPtr& last) { claim_gone(last); }});
  classes_.add_handler({.added = [this](const ObjectPtr&) { enqueue_unbound(); },
                        .updated = [this](const ObjectPtr&, const ObjectPtr&) { enqueue_unbound(); },
                        .deleted = nullptr});
  pods_.add_handler(
      {.added = [this](const ObjectPtr& pod) { look_later(pod); }, .updated = nullptr, .deleted = nullptr});
}

// A volume that becomes free may be what a claim waits for.
void VolumeBinding::volume_changed(const ObjectPtr& now) {
  enqueue_volume(now->name());
  for (const auto& claim : claims_.index(kByVolume, now->name())) enqueue_claim(claim->key());
  if (api::field_value(*now, "status.phase") == "Available") enqueue_unbound();
}

void VolumeBinding::claim_gone(const ObjectPtr& last) {
  fresh_claims_.forget(last->key());
  if (const auto name = api::field_value(*last, "spec.volumeName"); !name.empty()) enqueue_volume(name);
  for (const auto& volume : volumes_.index(kByClaimRef, last->key())) enqueue_volume(volume->name());
}

void VolumeBinding::enqueue_unbound() {
  claims_.each([this](const ObjectPtr& claim) {
    if (api::field_value(*claim, "spec.volumeName").empty()) enqueue_claim(claim->key());
  });
}

void VolumeBinding::look_later(const ObjectPtr& pod) {
  std::vector<std::string> keys;
  client::index_by_claim(*pod, keys);
  for (const auto& key : keys) queue_.add_after("claim " + key, kSchedulingTime);
}

Task<Status> VolumeBinding::reconcile(std::string key) {
  const auto space = key.find(' ');
  const bool is_claim = key.starts_with("claim ");
  auto& objects = is_claim ? fresh_claims_ : fresh_volumes_;
  const auto name = key.substr(space + 1);
  const auto object = objects.get(name);
  if (!object) co_return Status{};
  auto done = is_claim ? co_await sync_claim(object) : co_await sync_volume(object);
  if (done || done.error().code != Code::kConflict) co_return done;
  // Somebody else wrote it first, which will be seen in a moment.
  queue_.add_after(key, kAfterConflict);
  co_return Status{};
}

Task<Result<ObjectPtr>> VolumeBinding::write(const api::Resource& resource, client::FreshObjects& objects, Json value,
                                             std::string subresource) {
  const std::string ns(str(at(value, "metadata"), "namespace"));
  const std::string name(str(at(value, "metadata"), "name"));
  auto written =
      co_await client().update(resource, ns, name, std::move(value), {.subresource = std::move(subresource)});
  if (written) objects.wrote(*written);
  co_return written;
}

std::unique_ptr<Controller> make_volume_binding(Context& context) { return std::make_unique<VolumeBinding>(context); }

}  // namespace brume::controller
