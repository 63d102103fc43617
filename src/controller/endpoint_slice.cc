// EndpointSlices of Services with a selector: at most 100 endpoints each, and as few writes as a change allows.
#include <algorithm>
#include <map>

#include "make.h"
#include "pod_control.h"
#include "service_pods.h"

namespace brume::controller {

namespace {

constexpr std::size_t kMaxEndpoints = 100;  // kube-controller-manager's --max-endpoints-per-slice
constexpr const char* kServiceName = "kubernetes.io/service-name";
constexpr const char* kManagedBy = "endpointslice.kubernetes.io/managed-by";
constexpr const char* kManager = "endpointslice-controller.k8s.io";
constexpr const char* kHeadless = "service.kubernetes.io/headless";
constexpr const char* kZone = "topology.kubernetes.io/zone";

/// A slice there is: `value` is edited, and written when it then differs.
struct Slice {
  ObjectPtr object;
  Json value;
  std::size_t count() const { return at(value, "endpoints").size(); }
};

/// Endpoints of the same family and ports, by pod uid and address.
struct Group {
  std::string family;
  Json ports = Json::array();
  std::map<std::string, Json> endpoints = {};
};

struct Plan {
  std::vector<Slice> slices;  // a null value: to be deleted
  std::vector<bool> used;
  std::vector<Json> created;
};

std::string identity(const Json& endpoint) {
  const auto& addresses = at(endpoint, "addresses");
  return std::string(str(at(endpoint, "targetRef"), "uid")) + "/" +
         std::string(addresses.empty() ? "" : str(addresses[0]));
}

class EndpointSliceController final : public ServiceController {
 public:
  explicit EndpointSliceController(Context& context);

 private:
  Task<Status> reconcile(std::string key) override;
  [[nodiscard]] std::vector<Group> wanted_groups(const ObjectPtr& service);
  [[nodiscard]] Json endpoint(const ObjectPtr& pod, const ServiceView& service, const std::string& service_name,
                              const std::string& ip);
  [[nodiscard]] Json labels(const ObjectPtr& service);
  [[nodiscard]] std::vector<Slice> slices_of(const ObjectPtr& service);
  Task<Status> write_all(ObjectPtr service, std::vector<Slice> slices, std::vector<Json> created);
  void slice_changed(const ObjectPtr& slice);

  Informer& slices_;
  Informer& nodes_;
  Expectations writes_;
};

EndpointSliceController::EndpointSliceController(Context& context)
    : ServiceController(context, "endpoint-slice-controller"),
      slices_(use("endpointslices.discovery.k8s.io")),
      nodes_(use("nodes")),
      writes_(slices_) {
  slices_.add_index("service", [](const Object& slice, std::vector<std::string>& values) {
    if (slice.label(kManagedBy) == kManager)
      values.push_back(slice.ns() + "/" + std::string(slice.label(kServiceName)));
  });
  slices_.add_handler({.added = [this](const ObjectPtr& now) { slice_changed(now); },
                       .updated = [this](const ObjectPtr&, const ObjectPtr& now) { slice_changed(now); },
                       .deleted = [this](const ObjectPtr& last) { slice_changed(last); }});
}

// Repairs what others did to a slice of ours; our own writes come back here too and find nothing to do.
void EndpointSliceController::slice_changed(const ObjectPtr& slice) {
  if (slice->label(kManagedBy) != kManager) return;
  const std::string key = slice->ns() + "/" + std::string(slice->label(kServiceName));
  if (services_.get(key)) queue_.add(key);
}

Json EndpointSliceController::endpoint(const ObjectPtr& pod, const ServiceView& service,
                                       const std::string& service_name, const std::string& ip) {
  const auto& view = context_.pods.of(pod);
  const bool serving = view.ready;
  const bool terminating = pod->deleting();
  Json out = {{"addresses", Json::array({ip})},
              {"conditions",
               {{"ready", service.publish_not_ready || (serving && !terminating)},
                {"serving", serving},
                {"terminating", terminating}}},
              {"targetRef", pod_target(*pod)}};
  if (!view.node_name.empty()) {
    out["nodeName"] = view.node_name;
    const auto node = nodes_.get(view.node_name);
    if (node && !node->label(kZone).empty()) out["zone"] = std::string(node->label(kZone));
  }
  if (!view.hostname.empty() && view.subdomain == service_name) out["hostname"] = view.hostname;
  return out;
}

std::vector<Group> EndpointSliceController::wanted_groups(const ObjectPtr& service) {
  const auto& view = this->view(service);
  std::vector<Group> groups;
  for (const auto& pod : pods_of(service)) {
    const auto& pod_view = context_.pods.of(pod);
    Json ports = Json::array();
    for (const auto& port : view.ports) {
      if (const auto number = port.resolve(pod_view)) ports.push_back(endpoint_port(port, *number));
    }
    for (const auto& family : view.families) {
      const auto ip = std::find_if(pod_view.ips.begin(), pod_view.ips.end(),
                                   [&](const auto& address) { return is_family(address, family); });
      if (ip == pod_view.ips.end()) continue;
      auto group = std::find_if(groups.begin(), groups.end(),
                                [&](const Group& g) { return g.family == family && g.ports == ports; });
      if (group == groups.end()) group = groups.insert(groups.end(), Group{.family = family, .ports = ports});
      Json made = endpoint(pod, view, service->name(), *ip);
      group->endpoints.emplace(identity(made), std::move(made));
    }
  }
  return groups;
}

Json EndpointSliceController::labels(const ObjectPtr& service) {
  Json out = Json::object();
  for (const auto& [key, value] : service->labels()) out[key] = value;
  out.erase(kHeadless);
  out[kServiceName] = service->name();
  out[kManagedBy] = kManager;
  if (view(service).headless) out[kHeadless] = "";
  return out;
}

std::vector<Slice> EndpointSliceController::slices_of(const ObjectPtr& service) {
  std::vector<Slice> out;
  for (const auto& object : slices_.index("service", service->key())) {
    if (!object->deleting()) out.push_back({.object = object, .value = object->parse()});
  }
  return out;
}

// Keeps endpoints where they are, changing those that differ and taking out those that are gone.
void retain(Slice& slice, Group& group) {
  Json kept = Json::array();
  for (const auto& have : at(slice.value, "endpoints")) {
    const auto it = group.endpoints.find(identity(have));
    if (it == group.endpoints.end()) continue;
    kept.push_back(std::move(it->second));
    group.endpoints.erase(it);
  }
  // An empty list may be stored as null: that is no change.
  if (!kept.empty() || slice.count() > 0) slice.value["endpoints"] = std::move(kept);
}

void fill(Json& slice, Group& group) {
  if (group.endpoints.empty()) return;
  auto& endpoints = slice["endpoints"];
  if (!endpoints.is_array()) endpoints = Json::array();
  while (endpoints.size() < kMaxEndpoints && !group.endpoints.empty()) {
    endpoints.push_back(std::move(group.endpoints.begin()->second));
    group.endpoints.erase(group.endpoints.begin());
  }
}

// Spreads one group's endpoints over the slices that have its family and ports, and new ones.
void place(const ObjectPtr& service, Group& group, const Json& labels, Plan& plan) {
  auto& slices = plan.slices;
  std::vector<std::size_t> mine;
  for (std::size_t i = 0; i < slices.size(); ++i) {
    const auto& value = slices[i].value;
    const auto& ports = at(value, "ports");
    const bool same_ports = ports == group.ports || (ports.is_null() && group.ports.empty());
    if (plan.used[i] || str(value, "addressType") != group.family || !same_ports) continue;
    plan.used[i] = true;
    mine.push_back(i);
    retain(slices[i], group);
  }
  // The fullest slices take the new endpoints, so that the others may become empty and go.
  std::sort(mine.begin(), mine.end(), [&](auto a, auto b) { return slices[a].count() > slices[b].count(); });
  for (const auto i : mine) fill(slices[i].value, group);
  bool more = mine.empty() || !group.endpoints.empty();
  for (; more; more = !group.endpoints.empty()) {
    Json slice = {{"metadata",
                   {{"generateName", service->name() + "-"},
                    {"namespace", service->ns()},
                    {"labels", labels},
                    {"ownerReferences", Json::array({client::controller_reference(*service)})}}},
                  {"addressType", group.family},
                  {"ports", group.ports},
                  {"endpoints", Json::array()}};
    fill(slice, group);
    plan.created.push_back(std::move(slice));
  }
  // The first stays even when it is empty; it is then all that the family has.
  for (std::size_t n = 1; n < mine.size(); ++n) {
    if (slices[mine[n]].count() == 0) slices[mine[n]].value = nullptr;
  }
}

Task<Status> EndpointSliceController::reconcile(std::string key) {
  const auto service = services_.get(key);
  if (!service) {
    writes_.forget(key);
    co_return Status{};  // its slices go with it, by owner reference
  }
  const auto& view = this->view(service);
  if (!view.selects || service->deleting()) co_return Status{};
  if (!writes_.satisfied(key)) {
    queue_.add_after(key, std::chrono::seconds(1));
    co_return Status{};
  }
  auto groups = wanted_groups(service);
  for (const auto& family : view.families) {
    // A Service without endpoints has one empty slice, so that readers can tell it from one not looked at yet.
    const bool any = std::any_of(groups.begin(), groups.end(), [&](const Group& g) { return g.family == family; });
    if (!any) groups.push_back({.family = family});
  }
  Plan plan{.slices = slices_of(service), .used = {}, .created = {}};
  plan.used.resize(plan.slices.size());
  const Json wanted_labels = labels(service);
  for (auto& group : groups) {
    place(service, group, wanted_labels, plan);
  }
  for (std::size_t i = 0; i < plan.slices.size(); ++i) {
    auto& value = plan.slices[i].value;
    if (!plan.used[i]) value = nullptr;
    if (value.is_object()) value["metadata"]["labels"] = wanted_labels;
  }
  co_return co_await write_all(service, std::move(plan.slices), std::move(plan.created));
}

// Creates first and deletes last, so that no endpoint is missing meanwhile.
Task<Status> EndpointSliceController::write_all(ObjectPtr service, std::vector<Slice> slices,
                                                std::vector<Json> created) {
  for (auto& body : created) {
    BRUME_CO_TRY(auto object, co_await client().create(slices_.resource(), service->ns(), std::move(body)));
    writes_.created(service->key(), object->resource_version());
  }
  for (auto& slice : slices) {
    if (slice.value.is_null() || slice.value == slice.object->parse()) continue;
    BRUME_CO_TRY(auto object, co_await client().update(slices_.resource(), service->ns(), slice.object->name(),
                                                       std::move(slice.value)));
    writes_.created(service->key(), object->resource_version());
    slice.value = Json::object();
  }
  for (const auto& slice : slices) {
    if (!slice.value.is_null()) continue;
    auto done =
        co_await client().remove(slices_.resource(), service->ns(), slice.object->name(), {.uid = slice.object->uid()});
    if (!done && done.error().code != Code::kNotFound) co_return fail(done.error());
    writes_.deleting(service->key(), slice.object);
  }
  co_return Status{};
}

}  // namespace

std::unique_ptr<Controller> make_endpoint_slice(Context& context) {
  return std::make_unique<EndpointSliceController>(context);
}

}  // namespace brume::controller
