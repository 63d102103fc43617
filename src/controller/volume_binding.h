// The persistent volume controller, split over volume_binding.cc (what to look at), volume_binding_claim.cc (claims)
// and volume_binding_volume.cc (volumes).
#pragma once

#include <string>
#include <vector>

#include "brume/client/fresh_objects.h"
#include "brume/client/volumes.h"
#include "controller.h"

namespace brume::controller {

/// Binds claims to volumes, in two halves that each carry a mark (spec.claimRef with the claim's uid; spec.volumeName
/// and bind-completed), so that whatever half a crash leaves is completed; releases, reclaims and loses them. Makes no
/// volume itself: a claim's provisioner is told by an annotation. One key at a time, so that no volume is promised
/// twice.
class VolumeBinding final : public Controller {
 public:
  explicit VolumeBinding(Context& context);

 private:
  // volume_binding.cc
  Task<Status> reconcile(std::string key) override;
  void enqueue_claim(std::string_view key) { queue_.add(std::string("claim ").append(key)); }
  void enqueue_volume(std::string_view name) { queue_.add(std::string("volume ").append(name)); }
  void volume_changed(const ObjectPtr& now);
  void claim_gone(const ObjectPtr& last);
  void enqueue_unbound();
  void look_later(const ObjectPtr& pod);
  Task<Result<ObjectPtr>> write(const api::Resource& resource, client::FreshObjects& objects, Json value,
                                std::string subresource);
  Task<Result<ObjectPtr>> write_volume(Json value, std::string subresource = {}) {
    return write(volumes_.resource(), fresh_volumes_, std::move(value), std::move(subresource));
  }
  Task<Result<ObjectPtr>> write_claim(Json value, std::string subresource = {}) {
    return write(claims_.resource(), fresh_claims_, std::move(value), std::move(subresource));
  }

  // volume_binding_claim.cc
  Task<Status> sync_claim(ObjectPtr claim);
  Task<Status> sync_unbound(ObjectPtr claim, client::ClaimView view);
  Task<Status> sync_named(ObjectPtr claim, client::ClaimView view);
  Task<Status> sync_bound(ObjectPtr claim, client::ClaimView view);
  Task<Status> provision(ObjectPtr claim, client::ClaimView view);
  Task<Result<bool>> assign_default_class(ObjectPtr claim);
  void report_waiting(const ObjectPtr& claim);
  Task<Status> lose(ObjectPtr claim, std::string_view reason, std::string message);
  /// An empty phase of `volume`: the claim has none.
  Task<Result<ObjectPtr>> set_claim_status(ObjectPtr claim, std::string_view phase, ObjectPtr volume);
  [[nodiscard]] ObjectPtr best_volume(const Object& claim, const client::ClaimView& view, bool delayed);

  // volume_binding_volume.cc
  Task<Status> sync_volume(ObjectPtr volume);
  Task<Status> bind(ObjectPtr volume, ObjectPtr claim);
  Task<Result<ObjectPtr>> bind_volume_to_claim(ObjectPtr volume, ObjectPtr claim);
  Task<Result<ObjectPtr>> bind_claim_to_volume(ObjectPtr claim, ObjectPtr volume);
  Task<Status> unbind(ObjectPtr volume);
  Task<Status> release(ObjectPtr volume);
  Task<Status> reclaim(ObjectPtr volume);
  Task<Result<ObjectPtr>> find_claim(client::ClaimRef ref, bool live);
  Task<Result<ObjectPtr>> set_volume_phase(ObjectPtr volume, std::string_view phase, std::string message = {});
  Task<Status> set_failed(ObjectPtr volume, std::string_view reason, std::string message);

  Informer& volumes_;
  Informer& claims_;
  Informer& classes_;
  Informer& pods_;
  client::FreshObjects fresh_volumes_;
  client::FreshObjects fresh_claims_;
  client::Projection<client::VolumeView> volume_views_;
};

}  // namespace brume::controller
