// The provisioner of brume.dev/local-path: a PersistentVolume for a directory on the disk of the node that the
// scheduler has chosen. The node makes the directory when a pod first mounts it, and deletes it when the volume is
// deleted: a finalizer keeps the volume until then.
#include <algorithm>

#include "brume/api/local_path.h"
#include "brume/client/volumes.h"
#include "make.h"

namespace brume::controller {

namespace {

constexpr std::string_view kByLocalNode = "localNode";
constexpr std::string_view kHostname = "kubernetes.io/hostname";

bool has(const Object& object, std::string_view finalizer) {
  const auto& all = object.finalizers();
  return std::find(all.begin(), all.end(), finalizer) != all.end();
}

bool is_ready(const Object& node) {
  const Json value = node.parse();
  return client::condition_true(at(value, "status"), "Ready") && !flag(at(value, "spec"), "unschedulable");
}

std::string directory_of(const Object& node) {
  const Json value = node.parse();
  return std::string(str(at(value, "metadata", "annotations"), api::kLocalPathDirectory));
}

class LocalPath final : public Controller {
 public:
  explicit LocalPath(Context& context)
      : Controller(context, std::string(api::kLocalPath)),
        claims_(use("persistentvolumeclaims")),
        volumes_(use("persistentvolumes")),
        classes_(use("storageclasses.storage.k8s.io")),
        nodes_(use("nodes")) {
    volumes_.add_index(kByLocalNode, [](const Object& volume, std::vector<std::string>& values) {
      if (const auto node = volume.label(api::kLocalPathNode); !node.empty()) values.emplace_back(node);
    });
    claims_.add_handler(
        {.added = [this](const ObjectPtr& now) { queue_.add("claim " + now->key()); },
         .updated = [this](const ObjectPtr&, const ObjectPtr& now) { queue_.add("claim " + now->key()); },
         .deleted = nullptr});
    volumes_.add_handler({.added = [this](const ObjectPtr& now) { volume_changed(now->name()); },
                          .updated = [this](const ObjectPtr&, const ObjectPtr& now) { volume_changed(now->name()); },
                          .deleted = [this](const ObjectPtr& last) { claim_lost_volume(*last); }});
    nodes_.add_handler({.added = nullptr, .updated = nullptr, .deleted = [this](const ObjectPtr& node) {
                          for (const auto& volume : volumes_.index(kByLocalNode, node->name()))
                            volume_changed(volume->name());
                        }});
  }

 private:
  void volume_changed(const std::string& name) { queue_.add("volume " + name); }
  /// A claim that was not bound yet when its volume went gets another.
  void claim_lost_volume(const Object& volume) {
    const Json value = volume.parse();
    const auto& claim = at(value, "spec", "claimRef");
    if (claim.is_object()) {
      queue_.add("claim " + std::string(str(claim, "namespace")) + "/" + std::string(str(claim, "name")));
    }
  }

  Task<Status> reconcile(std::string key) override {
    const bool is_claim = key.starts_with("claim ");
    const auto name = key.substr(key.find(' ') + 1);
    if (const auto object = is_claim ? claims_.get(name) : volumes_.get(name)) {
      co_return is_claim ? co_await provision(object) : co_await reclaim(object);
    }
    co_return Status{};
  }

  Task<Status> provision(ObjectPtr claim);
  Task<Status> reclaim(ObjectPtr volume);
  Task<Status> reschedule(ObjectPtr claim);
  void refuse(const Object& claim, std::string_view storage_class, std::string why) {
    events_.warning(claim, "ProvisioningFailed",
                    "failed to provision volume with StorageClass \"" + std::string(storage_class) + "\": " + why);
  }
  [[nodiscard]] ObjectPtr any_node(const client::ClassView& storage_class) const;

  Informer& claims_;
  Informer& volumes_;
  Informer& classes_;
  Informer& nodes_;
};

// Why no directory can be what this claim asks for; "" when one can.
std::string beyond(const Json& claim, const client::ClaimView& view, const client::ClassView& storage_class) {
  for (const auto& mode : view.modes) {
    if (mode != "ReadWriteOnce" && mode != "ReadWriteOncePod") {
      return "only the access modes ReadWriteOnce and ReadWriteOncePod are supported";
    }
  }
  if (view.block) return "volumeMode Block is not supported";
  if (view.selector) return "claim Selector is not supported";
  if (at(claim, "spec", "dataSource").is_object() || at(claim, "spec", "dataSourceRef").is_object()) {
    return "a data source is not supported";
  }
  if (!str(at(claim, "spec"), "volumeAttributesClassName").empty()) return "volume attributes are not supported";
  if (storage_class.mount_options) return "mount options are not supported";
  return "";
}

// For a class that does not wait for a pod: the ready node with the fewest volumes.
ObjectPtr LocalPath::any_node(const client::ClassView& storage_class) const {
  ObjectPtr best;
  std::size_t fewest = 0;
  nodes_.each([&](const ObjectPtr& node) {
    if (!is_ready(*node) || directory_of(*node).empty() || !storage_class.allows(*node)) return;
    const auto count = volumes_.index(kByLocalNode, node->name()).size();
    if (best && count >= fewest) return;
    best = node;
    fewest = count;
  });
  return best;
}

Json volume_on(const Object& claim, const Json& value, const client::ClassView& storage_class, const Object& node,
               const std::string& directory) {
  const std::string name = "pvc-" + claim.uid();
  const std::string hostname(node.label(kHostname).empty() ? std::string_view(node.name()) : node.label(kHostname));
  const Json term = {
      {"matchExpressions", {{{"key", kHostname}, {"operator", "In"}, {"values", Json::array({hostname})}}}}};
  const auto view = client::decode_claim(claim);
  return {{"metadata",
           {{"name", name},
            {"labels", {{std::string(api::kLocalPathNode), node.name()}}},
            {"annotations", {{std::string(client::kProvisionedBy), api::kLocalPath}}},
            {"finalizers", Json::array({api::kLocalPath})}}},
          {"spec",
           {{"capacity", {{"storage", at(value, "spec", "resources", "requests", "storage")}}},
            {"accessModes", at(value, "spec", "accessModes")},
            {"volumeMode", "Filesystem"},
            {"persistentVolumeReclaimPolicy", storage_class.reclaim_policy},
            {"storageClassName", view.class_name()},
            {"claimRef", client::ObjectReference::to(claim).to_json()},
            {"local", {{"path", directory + "/" + client::local_path_name(name, claim.ns(), claim.name())}}},
            {"nodeAffinity", {{"required", {{"nodeSelectorTerms", Json::array({term})}}}}}}}};
}

Task<Status> LocalPath::provision(ObjectPtr claim) {
  const auto view = client::decode_claim(*claim);
  if (!view.volume_name.empty() || view.provisioner != api::kLocalPath || claim->deleting()) co_return Status{};
  const auto class_object = classes_.get(view.class_name());
  if (!class_object) co_return Status{};
  const auto storage_class = client::decode_class(*class_object);
  if (storage_class.provisioner != api::kLocalPath) co_return Status{};
  if (storage_class.delayed && view.selected_node.empty()) co_return Status{};
  const std::string name = "pvc-" + claim->uid();
  if (volumes_.get(name)) co_return Status{};
  const Json value = claim->parse();
  if (auto why = beyond(value, view, storage_class); !why.empty()) {
    refuse(*claim, view.class_name(), std::move(why));
    co_return Status{};
  }
  const auto node = view.selected_node.empty() ? any_node(storage_class) : nodes_.get(view.selected_node);
  if (!node) {
    if (view.selected_node.empty()) {
      refuse(*claim, view.class_name(), "no node has room for it");
      co_return fail(Code::kServiceUnavailable, "no node for claim " + claim->key());
    }
    refuse(*claim, view.class_name(), "error getting selected node: node \"" + view.selected_node + "\" not found");
    co_return co_await reschedule(claim);
  }
  const auto directory = directory_of(*node);
  if (directory.empty()) {
    refuse(*claim, view.class_name(), "node \"" + node->name() + "\" keeps no local volumes");
    co_return co_await reschedule(claim);
  }
  auto created =
      co_await client().create(volumes_.resource(), "", volume_on(*claim, value, storage_class, *node, directory));
  if (!created && created.error().code == Code::kAlreadyExists) co_return Status{};
  if (!created) {
    refuse(*claim, view.class_name(), created.error().message);
    co_return fail(created.error());
  }
  events_.normal(*claim, "ProvisioningSucceeded", "Successfully provisioned volume " + name);
  co_return Status{};
}

// The scheduler is to choose another node.
Task<Status> LocalPath::reschedule(ObjectPtr claim) {
  Json value = claim->parse();
  value["metadata"]["annotations"].erase(std::string(client::kSelectedNode));
  auto written = co_await client().update(claims_.resource(), claim->ns(), claim->name(), std::move(value));
  if (written || written.error().code == Code::kNotFound) co_return Status{};
  co_return fail(written.error());
}

Task<Status> LocalPath::reclaim(ObjectPtr volume) {
  const auto view = client::decode_volume(*volume);
  if (view.provisioned_by != api::kLocalPath) co_return Status{};
  if (!volume->deleting()) {
    if (view.phase != "Released" || view.reclaim_policy != "Delete") co_return Status{};
    // This version of it: one that somebody retains meanwhile is not to go.
    auto removed = co_await client().remove(
        volumes_.resource(), "", volume->name(),
        {.uid = volume->uid(), .resource_version = std::to_string(volume->resource_version())});
    if (removed || removed.error().code == Code::kNotFound) co_return Status{};
    co_return removed;
  }
  // The disk went with its node: nobody else will let the volume go.
  if (!has(*volume, api::kLocalPath) || has(*volume, client::kVolumeProtection)) co_return Status{};
  const std::string node(volume->label(api::kLocalPathNode));
  if (nodes_.get(node)) co_return Status{};
  auto live = co_await client().get(nodes_.resource(), "", node);
  if (live) co_return Status{};
  if (live.error().code != Code::kNotFound) co_return fail(live.error());
  Json value = volume->parse();
  Json& finalizers = value["metadata"]["finalizers"];
  finalizers.erase(std::remove(finalizers.begin(), finalizers.end(), Json(api::kLocalPath)), finalizers.end());
  auto written = co_await client().update(volumes_.resource(), "", volume->name(), std::move(value));
  if (written || written.error().code == Code::kNotFound) co_return Status{};
  co_return fail(written.error());
}

}  // namespace

std::unique_ptr<Controller> make_local_path(Context& context) { return std::make_unique<LocalPath>(context); }

}  // namespace brume::controller
