// Generic ephemeral volumes (KEP-1698): a claim for each, of the pod's and gone with it.
#include "brume/client/volumes.h"
#include "make.h"

namespace brume::controller {

namespace {

class EphemeralVolumes final : public Controller {
 public:
  explicit EphemeralVolumes(Context& context)
      : Controller(context, "ephemeral_volume"), pods_(use("pods")), claims_(use("persistentvolumeclaims")) {
    pods_.add_index(client::kByClaim, client::index_by_claim);
    pods_.add_handler(
        {.added = [this](const ObjectPtr& pod) { consider(pod); }, .updated = nullptr, .deleted = nullptr});
    claims_.add_handler({.added = nullptr, .updated = nullptr, .deleted = [this](const ObjectPtr& claim) {
                           for (const auto& pod : pods_.index(client::kByClaim, claim->key())) consider(pod);
                         }});
  }

 private:
  void consider(const ObjectPtr& pod) {
    if (!pod->deleting() && pod->bytes().find("\"ephemeral\"") != std::string::npos) enqueue(pod);
  }

  Task<Status> reconcile(std::string key) override {
    const auto pod = pods_.get(key);
    if (!pod || pod->deleting()) co_return Status{};
    const Json value = pod->parse();
    for (const Json& volume : at(value, "spec", "volumes")) {
      if (!at(volume, "ephemeral").is_object()) continue;
      auto made = co_await provide(pod, volume);
      if (made) continue;
      const std::string what = "ephemeral volume " + std::string(str(volume, "name"));
      events_.warning(*pod, "FailedBinding", what + ": " + made.error().message);
      co_return fail(wrap(made.error(), "pod " + key + ", " + what));
    }
    co_return Status{};
  }

  Task<Status> provide(ObjectPtr pod, Json volume) {
    const std::string name = client::claim_of(pod->name(), volume);
    if (const auto claim = claims_.get(pod->ns(), name)) {
      auto why = client::foreign_claim(*pod, *claim);
      if (!why.empty()) co_return fail(Code::kConflict, std::move(why));
      co_return Status{};
    }
    const Json& wanted = at(volume, "ephemeral", "volumeClaimTemplate");
    Json claim = {{"metadata", {{"name", name}, {"ownerReferences", {client::controller_reference(*pod)}}}},
                  {"spec", at(wanted, "spec")}};
    for (const char* field : {"labels", "annotations"}) {
      const Json& map = at(wanted, "metadata", field);
      if (map.is_object()) claim["metadata"][field] = map;
    }
    auto created = co_await client().create(claims_.resource(), pod->ns(), std::move(claim));
    if (!created) co_return fail(wrap(created.error(), "create PVC " + name));
    co_return Status{};
  }

  Informer& pods_;
  Informer& claims_;
};

}  // namespace

std::unique_ptr<Controller> make_ephemeral_volumes(Context& context) {
  return std::make_unique<EphemeralVolumes>(context);
}

}  // namespace brume::controller
