// What a claim wants: a volume that is there, or one that its provisioner is to make.
#include <algorithm>

#include "brume/base/strings.h"
#include "volume_binding.h"

namespace brume::controller {

using client::ClaimView;

namespace {

std::string in_quotes(std::string_view text) { return std::string("\"").append(text).append("\""); }

}  // namespace

Task<Status> VolumeBinding::sync_claim(ObjectPtr claim) {
  auto view = client::decode_claim(*claim);
  if (view.bind_completed) return sync_bound(std::move(claim), std::move(view));
  if (view.volume_name.empty()) return sync_unbound(std::move(claim), std::move(view));
  return sync_named(std::move(claim), std::move(view));
}

ObjectPtr VolumeBinding::best_volume(const Object& claim, const ClaimView& view, bool delayed) {
  std::vector<ObjectPtr> all = fresh_volumes_.all();
  std::vector<client::VolumeView> own;  // of versions that the informer has not, which its projection must not keep
  own.reserve(all.size());
  std::vector<client::VolumeChoice> choices;
  for (const auto& volume : all) {
    if (fresh_volumes_.is_copy(volume)) {
      choices.push_back({volume, &volume_views_.of(volume)});
    } else {
      choices.push_back({volume, &own.emplace_back(client::decode_volume(*volume))});
    }
  }
  return client::find_volume(claim, view, choices, {.node = nullptr, .delayed = delayed, .taken = {}});
}

// The claim names no volume: any that fits will do.
Task<Status> VolumeBinding::sync_unbound(ObjectPtr claim, ClaimView view) {
  const auto storage_class = view.class_name().empty() ? nullptr : classes_.get(view.class_name());
  const bool delayed = storage_class && client::decode_class(*storage_class).delayed;
  if (const auto volume = best_volume(*claim, view, delayed)) co_return co_await bind(volume, claim);
  if (!view.storage_class) {
    BRUME_CO_TRY(const bool assigned, co_await assign_default_class(claim));
    if (assigned) co_return Status{};
  }
  if (delayed && view.selected_node.empty()) {
    report_waiting(claim);
  } else if (!view.class_name().empty()) {
    co_return co_await provision(claim, view);
  } else {
    events_.normal(*claim, "FailedBinding",
                   "no persistent volumes available for this claim and no storage class is set");
  }
  auto written = co_await set_claim_status(claim, "Pending", nullptr);
  if (!written) co_return fail(written.error());
  co_return Status{};
}

// The claim was made before there was a default class (KEP-3333).
Task<Result<bool>> VolumeBinding::assign_default_class(ObjectPtr claim) {
  const auto chosen = client::default_class(classes_.list());
  if (!chosen) co_return false;
  Json value = claim->parse();
  value["spec"]["storageClassName"] = chosen->name();
  auto written = co_await write_claim(std::move(value));
  if (!written) {
    if (written.error().code == Code::kConflict) co_return fail(written.error());
    co_return fail(wrap(written.error(), "can't update PersistentVolumeClaim[" + in_quotes(claim->key()) + "]"));
  }
  co_return true;
}

void VolumeBinding::report_waiting(const ObjectPtr& claim) {
  std::vector<std::string> pods;
  for (const auto& pod : pods_.index(client::kByClaim, claim->key())) {
    const auto& view = context_.pods.of(pod);
    if (!view.finished() && view.node_name.empty()) pods.push_back(pod->name());
  }
  std::sort(pods.begin(), pods.end());
  if (pods.empty()) {
    events_.normal(*claim, "WaitForFirstConsumer", "waiting for first consumer to be created before binding");
  } else {
    events_.normal(
        *claim, "WaitForPodScheduled",
        std::string(pods.size() > 1 ? "waiting for pods " : "waiting for pod ") + join(pods, ",") + " to be scheduled");
  }
}

// Tells the class's provisioner, whoever it is, by an annotation.
Task<Status> VolumeBinding::provision(ObjectPtr claim, ClaimView view) {
  const auto storage_class = classes_.get(view.class_name());
  if (!storage_class) {
    events_.warning(*claim, "ProvisioningFailed",
                    "storageclass.storage.k8s.io " + in_quotes(view.class_name()) + " not found");
    co_return Status{};
  }
  const std::string provisioner = client::decode_class(*storage_class).provisioner;
  if (provisioner.starts_with("kubernetes.io/")) {
    events_.warning(*claim, "ProvisioningFailed", "no volume plugin matched name: " + provisioner);
    co_return Status{};
  }
  if (view.provisioner != provisioner) {
    Json value = claim->parse();
    value["metadata"]["annotations"][client::kStorageProvisioner] = provisioner;
    value["metadata"]["annotations"][client::kBetaStorageProvisioner] = provisioner;
    auto written = co_await write_claim(std::move(value));
    if (!written) {
      if (written.error().code != Code::kConflict) {
        events_.warning(*claim, "ProvisioningFailed", "Error saving claim: " + written.error().message);
      }
      co_return fail(written.error());
    }
    claim = *written;
  }
  events_.normal(*claim, "ExternalProvisioning",
                 "Waiting for a volume to be created either by the external provisioner '" + provisioner +
                     "' or manually by the system administrator. If volume creation is delayed, please verify that "
                     "the provisioner is running and correctly registered.");
  co_return Status{};
}

// The claim names a volume, by a user or by half of a binding.
Task<Status> VolumeBinding::sync_named(ObjectPtr claim, ClaimView view) {
  const auto volume = fresh_volumes_.get(view.volume_name);
  if (volume) {
    const auto volume_view = client::decode_volume(*volume);
    if (volume_view.is_for(*claim)) co_return co_await bind(volume, claim);
    if (volume_view.claim) {
      events_.warning(*claim, "FailedBinding",
                      "volume " + in_quotes(volume->name()) + " already bound to a different claim.");
      if (view.bound_by_controller) {
        co_return fail(Code::kInternal, "invalid binding of claim " + in_quotes(claim->key()) + " to volume " +
                                            in_quotes(volume->name()) + ": volume already claimed by " +
                                            in_quotes(volume_view.claim->key()));
      }
    } else if (const auto why = client::unfit(*volume, volume_view, view); why.empty()) {
      co_return co_await bind(volume, claim);
    } else {
      events_.warning(*claim, "VolumeMismatch",
                      "Cannot bind to requested volume " + in_quotes(volume->name()) + ": " + why);
    }
  }
  auto written = co_await set_claim_status(claim, "Pending", nullptr);
  if (!written) co_return fail(written.error());
  co_return Status{};
}

// The claim was bound for good: it keeps its volume or is lost.
Task<Status> VolumeBinding::sync_bound(ObjectPtr claim, ClaimView view) {
  if (view.volume_name.empty()) {
    co_return co_await lose(claim, "ClaimLost",
                            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!");
  }
  auto volume = fresh_volumes_.get(view.volume_name);
  if (!volume) {
    // The two informers may stand at different revisions: what is written here is never taken back, so look twice.
    auto live = co_await client().get(volumes_.resource(), "", view.volume_name);
    if (!live && live.error().code != Code::kNotFound) co_return fail(live.error());
    if (live) volume = *live;
  }
  if (!volume) {
    co_return co_await lose(claim, "ClaimLost",
                            "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
  }
  const auto volume_view = client::decode_volume(*volume);
  if (!volume_view.claim || volume_view.claim->uid == claim->uid()) co_return co_await bind(volume, claim);
  co_return co_await lose(claim, "ClaimMisbound",
                          "Two claims are bound to the same volume, this one is bound incorrectly");
}

Task<Status> VolumeBinding::lose(ObjectPtr claim, std::string_view reason, std::string message) {
  if (api::field_value(*claim, "status.phase") == "Lost") co_return Status{};
  auto written = co_await set_claim_status(claim, "Lost", nullptr);
  if (!written) co_return fail(written.error());
  events_.warning(*claim, reason, std::move(message));
  co_return Status{};
}

Task<Result<ObjectPtr>> VolumeBinding::set_claim_status(ObjectPtr claim, std::string_view phase, ObjectPtr volume) {
  Json value = claim->parse();
  if (!value["status"].is_object()) value["status"] = Json::object();
  Json& status = value["status"];
  const Json before = status;
  const bool moved = str(status, "phase") != phase;
  status["phase"] = phase;
  if (!volume) {
    for (const char* field : {"accessModes", "capacity", "currentVolumeAttributesClassName"}) status.erase(field);
  } else {
    const Json of_volume = volume->parse();
    const Json& spec = at(of_volume, "spec");
    status["accessModes"] = at(spec, "accessModes");
    // Later a resize has its own word on the capacity.
    if (moved) {
      status["capacity"] = at(spec, "capacity");
      const Json& attributes = at(spec, "volumeAttributesClassName");
      if (attributes.is_string()) status["currentVolumeAttributesClassName"] = attributes;
    }
  }
  if (status == before) co_return claim;
  co_return co_await write_claim(std::move(value), "status");
}

}  // namespace brume::controller
