// The older Endpoints objects, one a Service with a selector.
#include <algorithm>
#include <map>

#include "make.h"
#include "service_pods.h"

namespace brume::controller {

namespace {

constexpr std::size_t kMaxAddresses = 1000;  // more are cut off, and the annotation below says so
constexpr const char* kOverCapacity = "endpoints.kubernetes.io/over-capacity";
constexpr const char* kManagedBy = "endpoints.kubernetes.io/managed-by";
constexpr const char* kHeadless = "service.kubernetes.io/headless";

struct Subset {
  Json ready = Json::array();
  Json not_ready = Json::array();
};

class EndpointsController final : public ServiceController {
 public:
  explicit EndpointsController(Context& context)
      : ServiceController(context, "endpoint-controller"), endpoints_(use("endpoints")) {
    const auto changed = [this](const ObjectPtr& object) {
      if (services_.get(object->key())) enqueue(object);
    };
    endpoints_.add_handler({.added = nullptr,
                            .updated = [changed](const ObjectPtr&, const ObjectPtr& now) { changed(now); },
                            .deleted = changed});
  }

 private:
  // Endpoints of Services that went while nobody watched.
  void synced() override {
    endpoints_.each([this](const ObjectPtr& object) {
      if (object->label(kManagedBy) == "endpoint-controller" && !services_.get(object->key())) enqueue(object);
    });
  }

  Task<Status> reconcile(std::string key) override;
  [[nodiscard]] Json subsets(const ObjectPtr& service, bool& over);
  [[nodiscard]] Json body(const ObjectPtr& service, const ObjectPtr& before);

  Informer& endpoints_;
};

Json EndpointsController::subsets(const ObjectPtr& service, bool& over) {
  const auto& view = this->view(service);
  std::map<std::string, std::pair<Json, Subset>> by_ports;
  std::size_t count = 0;
  for (const auto& pod : pods_of(service)) {
    const auto& pod_view = context_.pods.of(pod);
    if (pod->deleting() && !view.publish_not_ready) continue;
    const auto ip = std::find_if(pod_view.ips.begin(), pod_view.ips.end(),
                                 [&](const auto& address) { return is_family(address, view.families.front()); });
    if (ip == pod_view.ips.end()) continue;
    Json ports = Json::array();
    for (const auto& port : view.ports) {
      const auto number = port.resolve(pod_view);
      if (!number) continue;
      Json made = endpoint_port(port, *number);
      if (port.name.empty()) made.erase("name");
      ports.push_back(std::move(made));
    }
    if (ports.empty() && !view.ports.empty()) continue;
    over = ++count > kMaxAddresses;
    if (over) break;
    Json address = {{"ip", *ip}, {"targetRef", pod_target(*pod)}};
    if (!pod_view.node_name.empty()) address["nodeName"] = pod_view.node_name;
    if (!pod_view.hostname.empty() && pod_view.subdomain == service->name()) address["hostname"] = pod_view.hostname;
    auto& [kept_ports, subset] = by_ports[dump_json(ports)];
    kept_ports = std::move(ports);
    const bool ready = view.publish_not_ready || pod_view.ready;
    (ready ? subset.ready : subset.not_ready).push_back(std::move(address));
  }
  Json out = Json::array();
  const auto by_ip = [](const Json& a, const Json& b) { return str(a, "ip") < str(b, "ip"); };
  for (auto& [text, entry] : by_ports) {
    auto& [ports, subset] = entry;
    std::sort(subset.ready.begin(), subset.ready.end(), by_ip);
    std::sort(subset.not_ready.begin(), subset.not_ready.end(), by_ip);
    Json made = Json::object();
    if (!subset.ready.empty()) made["addresses"] = std::move(subset.ready);
    if (!subset.not_ready.empty()) made["notReadyAddresses"] = std::move(subset.not_ready);
    if (!ports.empty()) made["ports"] = std::move(ports);
    out.push_back(std::move(made));
  }
  return out;
}

Json EndpointsController::body(const ObjectPtr& service, const ObjectPtr& before) {
  bool over = false;
  Json value = before ? before->parse() : Json{{"metadata", {{"name", service->name()}}}};
  Json labels = Json::object();
  for (const auto& [key, text] : service->labels()) labels[key] = text;
  labels.erase(kHeadless);
  labels[kManagedBy] = "endpoint-controller";
  if (view(service).headless) labels[kHeadless] = "";
  value["metadata"]["labels"] = std::move(labels);
  Json wanted = subsets(service, over);
  if (wanted.empty()) {
    value.erase("subsets");
  } else {
    value["subsets"] = std::move(wanted);
  }
  if (over) {
    value["metadata"]["annotations"][kOverCapacity] = "truncated";
  } else if (value["metadata"].contains("annotations")) {
    value["metadata"]["annotations"].erase(kOverCapacity);
    if (value["metadata"]["annotations"].empty()) value["metadata"].erase("annotations");
  }
  return value;
}

Task<Status> EndpointsController::reconcile(std::string key) {
  const auto service = services_.get(key);
  const auto before = endpoints_.get(key);
  const auto [ns, name] = split_key(key);
  if (!service) {
    if (!before) co_return Status{};
    auto done = co_await client().remove(endpoints_.resource(), ns, name, {.uid = before->uid()});
    if (!done && done.error().code != Code::kNotFound) co_return done;
    co_return Status{};
  }
  if (!view(service).selects || service->deleting()) co_return Status{};
  Json value = body(service, before);
  Result<ObjectPtr> done;
  if (!before) {
    done = co_await client().create(endpoints_.resource(), ns, std::move(value));
    // Another wrote it just now; the copy will show it.
    if (!done && done.error().code == Code::kAlreadyExists) co_return fail(Code::kConflict, done.error().message);
  } else {
    if (value == before->parse()) co_return Status{};
    done = co_await client().update(endpoints_.resource(), ns, name, std::move(value));
  }
  if (!done) co_return fail(done.error());
  co_return Status{};
}

}  // namespace

std::unique_ptr<Controller> make_endpoints(Context& context) { return std::make_unique<EndpointsController>(context); }

}  // namespace brume::controller
