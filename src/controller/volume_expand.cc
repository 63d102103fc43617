// Claims that ask for more than they have. No volume that brume makes itself has a size that it could change, so all
// that is left is to say who is waited for.
#include "brume/client/volumes.h"
#include "make.h"

namespace brume::controller {

namespace {

class VolumeExpand final : public Controller {
 public:
  explicit VolumeExpand(Context& context)
      : Controller(context, "volume_expand"),
        claims_(use("persistentvolumeclaims")),
        volumes_(use("persistentvolumes")) {
    claims_.add_handler({.added = [this](const ObjectPtr& now) { consider(*now); },
                         .updated =
                             [this](const ObjectPtr& old, const ObjectPtr& now) {
                               if (request(*old) != request(*now) || capacity(*old) != capacity(*now)) consider(*now);
                             },
                         .deleted = nullptr});
  }

 private:
  static std::string request(const Object& claim) { return api::field_value(claim, "spec.resources.requests.storage"); }
  static std::string capacity(const Object& claim) { return api::field_value(claim, "status.capacity.storage"); }

  void consider(const Object& claim) {
    if (api::field_value(claim, "status.phase") != "Bound") return;
    if (api::quantity_or_zero(request(claim)) > api::quantity_or_zero(capacity(claim))) queue_.add(claim.key());
  }

  Task<Status> reconcile(std::string key) override {
    const auto claim = claims_.get(key);
    if (!claim) co_return Status{};
    const auto view = client::decode_claim(*claim);
    auto volume = co_await client().get(volumes_.resource(), "", view.volume_name);
    if (!volume) co_return fail(wrap(volume.error(), "failed to get PV \"" + view.volume_name + "\""));
    const auto volume_view = client::decode_volume(**volume);
    if (!volume_view.claim || volume_view.claim->uid != claim->uid()) {
      co_return fail(Code::kConflict, "persistent Volume is not bound to PVC being updated : " + key);
    }
    const Json value = (*volume)->parse();
    const bool by_others = at(value, "spec", "csi").is_object() || at(value, "spec", "local").is_object();
    const std::string message = "waiting for an external controller to expand this PVC";
    if (by_others) {
      events_.normal(*claim, "ExternalExpanding", message);
    } else {
      events_.warning(*claim, "ExternalExpanding", message);
    }
    co_return Status{};
  }

  Informer& claims_;
  Informer& volumes_;
};

}  // namespace

std::unique_ptr<Controller> make_volume_expand(Context& context) { return std::make_unique<VolumeExpand>(context); }

}  // namespace brume::controller
