#include "brume/network/service_proxy.h"

#include <set>

#include "brume/base/log.h"
#include "brume/base/task.h"
#include "brume/client/informer.h"
#include "service_model.h"
#include "service_rules.h"

namespace brume::network {
namespace {

using client::Informer;
using client::ObjectPtr;

constexpr std::string_view kByService = "network/service";
/// A rollout touches a service many times in a row; what comes within this time is one transaction.
constexpr auto kBatchTime = std::chrono::milliseconds(3);
constexpr auto kRetryTime = std::chrono::seconds(1);

class InformedServiceProxy final : public ServiceProxy {
 public:
  InformedServiceProxy(ServiceProxyOptions options, client::InformerFactory& informers, ServiceRules rules)
      : options_(std::move(options)),
        services_(informers.informer("services")),
        slices_(informers.informer("endpointslices.discovery.k8s.io")),
        rules_(std::move(rules)),
        tasks_(informers.executor()),
        changed_(std::make_shared<Changes>(informers.executor())),
        clock_(informers.clock()) {
    slices_.add_index(kByService, [](const api::Object& slice, std::vector<std::string>& values) {
      if (std::string service = service_of_slice(slice); !service.empty()) values.push_back(std::move(service));
    });
    watch();
  }

  void start() override { tasks_.spawn("service proxy", run()); }
  Task<void> stop() override { return tasks_.stop(); }
  bool synced() const override { return synced_; }

 private:
  /// Which services to look at again. Shared with the informers' handlers, which outlive this object.
  struct Changes {
    explicit Changes(const Executor& executor) : event(executor) {}
    void add(std::string key) {
      if (key.empty()) return;
      keys.insert(std::move(key));
      event.notify();
    }
    std::set<std::string> keys;
    Event event;
  };

  void watch() {
    auto service = [changes = changed_](const ObjectPtr& object) { changes->add(object->key()); };
    services_.add_handler({.added = service,
                           .updated = [service](const ObjectPtr&, const ObjectPtr& now) { service(now); },
                           .deleted = service});
    auto slice = [changes = changed_](const ObjectPtr& object) { changes->add(service_of_slice(*object)); };
    slices_.add_handler({.added = slice,
                         .updated = [slice](const ObjectPtr& old, const ObjectPtr& now) { slice(old), slice(now); },
                         .deleted = slice});
  }

  ServicePorts wanted(const std::string& key) const {
    ObjectPtr service = services_.get(key);
    if (service == nullptr) return {};
    std::vector<SliceView> views;
    for (const auto& slice : slices_.index(kByService, key)) views.push_back(view_slice(*slice));
    std::vector<const SliceView*> slices;
    for (const auto& view : views) slices.push_back(&view);
    return service_ports(view_service(*service), slices, options_);
  }

  /// What must change in the rules so that these services are as wanted.
  std::map<std::string, std::optional<ServicePort>> changes_of(const std::set<std::string>& keys) const {
    std::map<std::string, std::optional<ServicePort>> changes;
    for (const auto& key : keys) {
      std::string prefix = key + "/";
      const ServicePorts& now = rules_.services();
      for (auto port = now.lower_bound(prefix); port != now.end() && port->first.starts_with(prefix); ++port) {
        changes.emplace(port->first, std::nullopt);
      }
      for (auto& [name, port] : wanted(key)) changes[name] = std::move(port);
    }
    return changes;
  }

  Task<bool> replace_all() {
    changed_->keys.clear();
    ServicePorts all;
    services_.each([&](const ObjectPtr& service) { all.merge(wanted(service->key())); });
    Status status =
        co_await run_blocking([this, all = std::move(all)]() mutable { return rules_.start(std::move(all)); });
    if (!status.has_value()) log::error("service rules could not be put in place", {{"error", status.error().message}});
    co_return status.has_value();
  }

  Task<bool> apply_changes() {
    auto changes = changes_of(std::exchange(changed_->keys, {}));
    if (changes.empty()) co_return true;
    Status status = co_await run_blocking(
        [this, changes = std::move(changes)]() mutable { return rules_.apply(std::move(changes)); });
    if (!status.has_value()) log::error("service rules could not be changed", {{"error", status.error().message}});
    co_return status.has_value();
  }

  Task<void> run() {
    co_await services_.wait_synced();
    co_await slices_.wait_synced();
    bool complete = false;  // whether the table is ours and whole
    for (;;) {
      if (complete) {
        co_await changed_->event.wait();
        co_await clock_.sleep(kBatchTime);
        complete = co_await apply_changes();
      } else {
        complete = co_await replace_all();
        synced_ = synced_ || complete;
      }
      if (!complete) co_await clock_.sleep(kRetryTime);
    }
  }

  const ServiceProxyOptions options_;
  Informer& services_;
  Informer& slices_;
  ServiceRules rules_;  // touched by one task, and by its blocking call while that task waits
  TaskGroup tasks_;
  std::shared_ptr<Changes> changed_;
  Clock& clock_;
  bool synced_ = false;
};

}  // namespace

Result<std::unique_ptr<ServiceProxy>> ServiceProxy::create(ServiceProxyOptions options,
                                                           client::InformerFactory& informers) {
  BRUME_TRY(ServiceRules rules, ServiceRules::open({options.cluster_cidr, options.service_cidrs}));
  return std::make_unique<InformedServiceProxy>(std::move(options), informers, std::move(rules));
}

Status ServiceProxy::cleanup() { return ServiceRules::cleanup(); }

}  // namespace brume::network
