// Claims that ask for more than they have (KEP-284, KEP-1790). The volumes of the built-in provisioner are directories
// without a size, so that theirs is only written down, at once and whether or not a pod uses them. Of others all that
// is left is to say who is waited for.
#include "brume/api/local_path.h"
#include "brume/client/volumes.h"
#include "make.h"

namespace brume::controller {

namespace {

constexpr std::string_view kInProgress = "ControllerResizeInProgress";

std::string request(const Object& claim) { return api::field_value(claim, "spec.resources.requests.storage"); }
std::string capacity(const Object& claim) { return api::field_value(claim, "status.capacity.storage"); }
std::string under_way(const Object& claim) {
  return api::field_value(claim, "status.allocatedResourceStatuses.storage");
}

class VolumeExpand final : public Controller {
 public:
  explicit VolumeExpand(Context& context)
      : Controller(context, "volume_expand"),
        claims_(use("persistentvolumeclaims")),
        volumes_(use("persistentvolumes")) {
    claims_.add_handler({.added = [this](const ObjectPtr& now) { consider(*now); },
                         .updated =
                             [this](const ObjectPtr& old, const ObjectPtr& now) {
                               if (request(*old) != request(*now) || capacity(*old) != capacity(*now) ||
                                   under_way(*old) != under_way(*now)) {
                                 consider(*now);
                               }
                             },
                         .deleted = nullptr});
  }

 private:
  static bool grows(const Object& claim) {
    if (api::field_value(claim, "status.phase") != "Bound") return false;
    return under_way(claim) == kInProgress ||
           api::quantity_or_zero(request(claim)) > api::quantity_or_zero(capacity(claim));
  }

  void consider(const Object& claim) {
    if (grows(claim)) queue_.add(claim.key());
  }

  Task<Status> reconcile(std::string key) override {
    const auto claim = claims_.get(key);
    if (!claim || !grows(*claim)) co_return Status{};
    const auto view = client::decode_claim(*claim);
    auto volume = co_await client().get(volumes_.resource(), "", view.volume_name);
    if (!volume) co_return fail(wrap(volume.error(), "failed to get PV \"" + view.volume_name + "\""));
    const auto volume_view = client::decode_volume(**volume);
    if (!volume_view.claim || volume_view.claim->uid != claim->uid()) {
      co_return fail(Code::kConflict, "persistent Volume is not bound to PVC being updated : " + key);
    }
    if (volume_view.provisioned_by != api::kLocalPath) {
      events_.normal(*claim, "ExternalExpanding", "waiting for an external controller to expand this PVC");
      co_return Status{};
    }
    auto done = co_await expand(claim, *volume);
    if (!done && done.error().code != Code::kConflict) {
      events_.warning(*claim, "VolumeResizeFailed", "error expanding pvc " + key + ": " + done.error().message);
    }
    co_return done;
  }

  // Three writes. The first says how far the claim grows: whoever is killed before the last finds the rest to do, and a
  // quota counts what was begun even when the claim asks for less meanwhile.
  Task<Status> expand(ObjectPtr claim, ObjectPtr volume) {
    const Json before = at(claim->parse(), "status");
    Json status = before;
    if (under_way(*claim) != kInProgress) {
      status["allocatedResources"]["storage"] = request(*claim);
      status["allocatedResourceStatuses"]["storage"] = kInProgress;
      client::set_condition(status, {{"type", "Resizing"}, {"status", "True"}}, clock().now());
      // The informer tells of it, and the rest follows.
      co_return co_await write(claim, before, std::move(status));
    }
    const std::string size(str(at(status, "allocatedResources"), "storage"));
    if (api::quantity_or_zero(size) > client::decode_volume(*volume).capacity) {
      Json patch = {{"metadata", {{"resourceVersion", std::to_string(volume->resource_version())}}},
                    {"spec", {{"capacity", {{"storage", size}}}}}};
      auto grown =
          co_await client().patch(volumes_.resource(), "", volume->name(), client::PatchType::kMerge, std::move(patch));
      if (!grown) co_return fail(grown.error());
    }
    // Never less, whoever has written the status meanwhile.
    if (api::quantity_or_zero(size) > api::quantity_or_zero(capacity(*claim))) status["capacity"]["storage"] = size;
    status.erase("allocatedResourceStatuses");  // a claim has no resource but its storage
    client::remove_condition(status, "Resizing");
    if (status["conditions"].empty()) status.erase("conditions");
    BRUME_CO_CHECK(co_await write(claim, before, std::move(status)));
    events_.normal(*claim, "VolumeResizeSuccessful", "ExpandVolume succeeded for volume " + claim->key());
    co_return Status{};
  }

  Task<Status> write(ObjectPtr claim, Json before, Json after) {
    auto written = co_await write_status(client(), claims_.resource(), claim, std::move(before), std::move(after),
                                         Demand::kRevision);
    if (!written) co_return fail(written.error());
    co_return Status{};
  }

  Informer& claims_;
  Informer& volumes_;
};

}  // namespace

std::unique_ptr<Controller> make_volume_expand(Context& context) { return std::make_unique<VolumeExpand>(context); }

}  // namespace brume::controller
