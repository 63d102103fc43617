// A volume's way: available, bound, released, reclaimed. And the binding itself.
#include "volume_binding.h"

namespace brume::controller {

namespace {

constexpr std::string_view kNoDeleter = "no deletable volume plugin matched";

bool is_annotated(const Json& object, std::string_view key) {
  return at(object, "metadata", "annotations").contains(key);
}

void drop_annotation(Json& object, std::string_view key) {
  Json& metadata = object["metadata"];
  const auto it = metadata.find("annotations");
  if (it == metadata.end() || !it->is_object()) return;
  it->erase(std::string(key));
  if (it->empty()) metadata.erase("annotations");
}

}  // namespace

// Binding
// ----------------------------------------------------------------------------------------------------------

// Four writes, each of which is left out when it was done before: whoever is killed between two of them finds the rest
// to do.
Task<Status> VolumeBinding::bind(ObjectPtr volume, ObjectPtr claim) {
  BRUME_CO_TRY(volume, co_await bind_volume_to_claim(volume, claim));
  BRUME_CO_TRY(volume, co_await set_volume_phase(volume, "Bound"));
  BRUME_CO_TRY(claim, co_await bind_claim_to_volume(claim, volume));
  auto written = co_await set_claim_status(claim, "Bound", volume);
  if (!written) co_return fail(written.error());
  co_return Status{};
}

Task<Result<ObjectPtr>> VolumeBinding::bind_volume_to_claim(ObjectPtr volume, ObjectPtr claim) {
  const auto view = client::decode_volume(*volume);
  const bool ours = view.is_for(*claim);
  if (ours && view.claim.value_or(client::ClaimRef{}).uid == claim->uid()) co_return volume;
  Json value = volume->parse();
  value["spec"]["claimRef"] = client::ObjectReference::to(*claim).to_json();
  // Kept by a user for this claim, it stays the user's: only the uid is new.
  if (!ours) value["metadata"]["annotations"][client::kBoundByController] = "yes";
  co_return co_await write_volume(std::move(value));
}

Task<Result<ObjectPtr>> VolumeBinding::bind_claim_to_volume(ObjectPtr claim, ObjectPtr volume) {
  Json value = claim->parse();
  const bool named = str(at(value, "spec"), "volumeName") == volume->name();
  if (named && is_annotated(value, client::kBindCompleted)) co_return claim;
  if (!named) {
    value["spec"]["volumeName"] = volume->name();
    value["metadata"]["annotations"][client::kBoundByController] = "yes";
  }
  value["metadata"]["annotations"][client::kBindCompleted] = "yes";
  co_return co_await write_claim(std::move(value));
}

Task<Status> VolumeBinding::unbind(ObjectPtr volume) {
  Json value = volume->parse();
  if (is_annotated(value, client::kBoundByController)) {
    value["spec"].erase("claimRef");
    drop_annotation(value, client::kBoundByController);
  } else {
    value["spec"]["claimRef"].erase("uid");
  }
  BRUME_CO_TRY(volume, co_await write_volume(std::move(value)));
  auto written = co_await set_volume_phase(volume, "Available");
  if (!written) co_return fail(written.error());
  co_return Status{};
}

// Volumes
// ----------------------------------------------------------------------------------------------------------

// Null: there is none, by the API's own word when the copy has none.
Task<Result<ObjectPtr>> VolumeBinding::find_claim(client::ClaimRef ref, bool live) {
  if (!live) {
    if (auto claim = fresh_claims_.get(ref.key())) co_return claim;
  }
  auto claim = co_await client().get(claims_.resource(), ref.ns, ref.name);
  if (!claim && claim.error().code == Code::kNotFound) co_return nullptr;
  co_return claim;
}

Task<Status> VolumeBinding::sync_volume(ObjectPtr volume) {
  const auto view = client::decode_volume(*volume);
  if (!view.claim || view.claim->uid.empty()) {
    auto written = co_await set_volume_phase(volume, "Available");
    if (!written) co_return fail(written.error());
    co_return Status{};
  }
  BRUME_CO_TRY(ObjectPtr claim, co_await find_claim(*view.claim, false));
  if (claim && claim->uid() != view.claim->uid) {
    // Deleted and made again, or the copy is old.
    BRUME_CO_TRY(claim, co_await find_claim(*view.claim, true));
    if (claim && claim->uid() != view.claim->uid) claim = nullptr;
  }
  if (!claim) co_return co_await release(volume);
  const auto claim_view = client::decode_claim(*claim);
  if (claim_view.volume_name.empty()) {
    if (claim_view.block == view.block) {
      enqueue_claim(claim->key());
      co_return Status{};
    }
    events_.warning(*volume, "VolumeMismatch",
                    "Cannot bind PersistentVolume to requested PersistentVolumeClaim \"" + claim->name() +
                        "\" due to incompatible volumeMode.");
    events_.warning(*claim, "VolumeMismatch",
                    "Cannot bind PersistentVolume \"" + volume->name() +
                        "\" to requested PersistentVolumeClaim due to incompatible volumeMode.");
    co_return Status{};
  }
  if (claim_view.volume_name == volume->name()) {
    auto written = co_await set_volume_phase(volume, "Bound");
    if (!written) co_return fail(written.error());
    co_return Status{};
  }
  // The claim has another volume. One that was made for it alone is of no use to anybody else.
  if (!view.provisioned_by.empty() && view.reclaim_policy == "Delete") co_return co_await release(volume);
  co_return co_await unbind(volume);
}

Task<Status> VolumeBinding::release(ObjectPtr volume) {
  const auto phase = api::field_value(*volume, "status.phase");
  if (phase != "Released" && phase != "Failed") {
    BRUME_CO_TRY(volume, co_await set_volume_phase(volume, "Released"));
  }
  co_return co_await reclaim(volume);
}

Task<Status> VolumeBinding::reclaim(ObjectPtr volume) {
  const auto view = client::decode_volume(*volume);
  if (view.reclaim_policy == "Retain") co_return Status{};
  if (view.reclaim_policy == "Recycle") {
    co_return co_await set_failed(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!");
  }
  if (view.reclaim_policy != "Delete") {
    co_return co_await set_failed(volume, "VolumeUnknownReclaimPolicy",
                                  "Volume has unrecognized PersistentVolumeReclaimPolicy");
  }
  if (!view.provisioned_by.empty()) {
    // Whoever made it deletes it.
    if (!view.provisioned_by.starts_with("kubernetes.io/")) co_return Status{};
    co_return co_await set_failed(volume, "VolumeFailedDelete", std::string(kNoDeleter));
  }
  if (!view.csi_driver.empty()) co_return Status{};
  co_return co_await set_failed(
      volume, "VolumeFailedDelete",
      "error getting deleter volume plugin for volume \"" + volume->name() + "\": " + std::string(kNoDeleter));
}

Task<Status> VolumeBinding::set_failed(ObjectPtr volume, std::string_view reason, std::string message) {
  if (api::field_value(*volume, "status.phase") == "Failed") co_return Status{};
  auto written = co_await set_volume_phase(volume, "Failed", message);
  if (!written) co_return fail(written.error());
  events_.warning(**written, reason, std::move(message));
  co_return Status{};
}

Task<Result<ObjectPtr>> VolumeBinding::set_volume_phase(ObjectPtr volume, std::string_view phase, std::string message) {
  if (api::field_value(*volume, "status.phase") == phase) co_return volume;
  Json value = volume->parse();
  value["status"]["phase"] = phase;
  value["status"].erase("message");
  if (!message.empty()) value["status"]["message"] = std::move(message);
  co_return co_await write_volume(std::move(value), "status");
}

}  // namespace brume::controller
