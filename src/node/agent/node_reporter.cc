#include "agent/node_reporter.h"

#include "agent/node_status.h"
#include "brume/base/log.h"
#include "brume/client/helpers.h"

namespace brume::node {

namespace {

// The kubelet's values: a lease of 40 s renewed every quarter of it; an unchanged status is written every 5 minutes.
constexpr std::chrono::seconds kLeaseDuration{40};
constexpr std::chrono::seconds kRenew{10};
constexpr std::chrono::minutes kStatusInterval{5};
constexpr std::chrono::minutes kPressureTransition{5};
constexpr std::chrono::milliseconds kRetry{200};
constexpr int kRegisterTries = 50;
constexpr const char* kLeaseNamespace = "kube-node-lease";

}  // namespace

NodeReporter::NodeReporter(const NodeOptions& options, NodeParts parts, client::EventRecorder& events,
                           const Executor& executor)
    : options_(options),
      parts_(parts),
      events_(events),
      group_(executor),
      changed_(executor),
      lease_retry_("the node's lease", "node", options.node_name),
      status_retry_("the node's status", "node", options.node_name) {}

Task<Status> NodeReporter::register_node() {
  const std::string data_dir = options_.data_dir;
  take(co_await run_blocking([data_dir, limits = options_.eviction_hard] { return read_pressure(data_dir, limits); }));
  Status registered;
  for (int attempt = 0; attempt < kRegisterTries; ++attempt) {
    if (attempt > 0) co_await parts_.clock.sleep(kRetry);
    registered = co_await bring_up_to_date();
    if (registered || registered.error().code == Code::kForbidden || registered.error().code == Code::kInvalid) break;
    if (registered.error().code == Code::kServiceUnavailable && !node_uid_.empty()) {
      // The API shows the Node but takes no writes: its disk is full. What runs here is taken over all the same.
      log::warn("the node is not up to date in the API, trying again",
                {{"node", options_.node_name}, {"error", registered.error().message}});
      co_return Status();
    }
  }
  if (!registered) co_return fail(wrap(std::move(registered).error(), "cannot register node " + options_.node_name));
  co_return Status();
}

// Creates the Node or brings its labels up to date, and writes its status.
Task<Status> NodeReporter::bring_up_to_date() {
  up_to_date_ = false;
  const auto& nodes = api::res("nodes");
  Json wanted = make_node(options_, machine_);
  auto have = co_await parts_.client.get(nodes, "", options_.node_name);
  if (!have && have.error().code == Code::kNotFound) {
    have = co_await parts_.client.create(nodes, "", wanted, {});
    if (have)
      events_.event({"v1", "Node", "", options_.node_name, (*have)->uid(), "", ""}, false, "Starting",
                    "Starting kubelet.");
  } else if (have) {
    node_uid_ = (*have)->uid();
    Json patch = {
        {"metadata",
         {{"labels", at(wanted, "metadata", "labels")}, {"annotations", at(wanted, "metadata", "annotations")}}}};
    const Json node = (*have)->parse();
    if (str(at(node, "spec"), "podCIDR").empty() && !options_.pod_cidr.empty()) patch["spec"] = at(wanted, "spec");
    have = co_await parts_.client.patch(nodes, "", options_.node_name, client::PatchType::kMerge, std::move(patch), {});
  }
  if (!have) co_return fail(std::move(have).error());
  node_uid_ = (*have)->uid();
  take(**have);
  auto written = co_await write_status();
  up_to_date_ = written.has_value();
  co_return written;
}

void NodeReporter::start(std::function<void(const Pressure&)> tick) {
  tick_ = std::move(tick);
  tell_limitations();
  group_.spawn("node lease", lease_loop());
  group_.spawn("node status", status_loop());
  if (!up_to_date_) changed_.notify();
}

void NodeReporter::take(const Pressure& now) {
  const auto time = parts_.clock.steady();
  const auto hold = [&](bool is, const std::string& message, bool& shown, std::string& shown_message,
                        std::chrono::steady_clock::time_point& until) {
    if (is) {
      until = time + kPressureTransition;
      shown_message = message;
    }
    shown = time < until;
  };
  hold(now.memory, now.memory_message, pressure_.memory, pressure_.memory_message, memory_until_);
  hold(now.disk, now.disk_message, pressure_.disk, pressure_.disk_message, disk_until_);
  hold(now.pid, now.pid_message, pressure_.pid, pressure_.pid_message, pid_until_);
}

void NodeReporter::tell_limitations() {
  const auto& limits = parts_.runtime.limitations();
  if (limits.empty()) return;
  std::string text;
  for (const auto& limit : limits) text += (text.empty() ? "" : "; ") + limit.what + ": " + limit.reason;
  events_.event({"v1", "Node", "", options_.node_name, node_uid_, "", ""}, true, "LimitsNotEnforced",
                "This machine does not enforce: " + text);
}

Task<void> NodeReporter::lease_loop() {
  while (true) {
    auto renewed = co_await renew_lease();
    std::chrono::seconds wait = kRenew;
    if (renewed) {
      lease_retry_.succeeded();
    } else {
      wait = lease_retry_.failed(renewed.error());
      lease_.reset();
    }
    co_await parts_.clock.sleep(wait);
    const std::string data_dir = options_.data_dir;
    const Pressure now =
        co_await run_blocking([data_dir, limits = options_.eviction_hard] { return read_pressure(data_dir, limits); });
    take(now);
    if (tick_) tick_(now);
    changed_.notify();
  }
}

Task<Status> NodeReporter::renew_lease() {
  const auto& leases = api::res("leases.coordination.k8s.io");
  if (!lease_) {
    auto have = co_await parts_.client.get(leases, kLeaseNamespace, options_.node_name);
    if (have) {
      lease_ = *have;
    } else if (have.error().code != Code::kNotFound) {
      co_return fail(std::move(have).error());
    }
  }
  Json spec = {{"holderIdentity", options_.node_name},
               {"leaseDurationSeconds", kLeaseDuration.count()},
               {"renewTime", format_rfc3339_micro(parts_.clock.now())}};
  Result<api::ObjectPtr> written = fail(Code::kInternal, "");
  if (lease_) {
    Json lease = lease_->parse();
    lease["spec"] = std::move(spec);
    written = co_await parts_.client.update(leases, kLeaseNamespace, options_.node_name, std::move(lease), {});
  } else {
    Json owner =
        Json::array({{{"apiVersion", "v1"}, {"kind", "Node"}, {"name", options_.node_name}, {"uid", node_uid_}}});
    Json lease = {
        {"apiVersion", "coordination.k8s.io/v1"},
        {"kind", "Lease"},
        {"metadata",
         {{"name", options_.node_name}, {"namespace", kLeaseNamespace}, {"ownerReferences", std::move(owner)}}},
        {"spec", std::move(spec)}};
    written = co_await parts_.client.create(leases, kLeaseNamespace, std::move(lease), {});
  }
  if (!written) co_return fail(std::move(written).error());
  lease_ = *written;
  co_return Status();
}

// False: what the API said later is known already.
bool NodeReporter::take(const api::Object& node) {
  if (node.resource_version() < api_revision_) return false;
  api_revision_ = node.resource_version();
  const Json value = node.parse();
  api_status_ = at(value, "status");
  return true;
}

void NodeReporter::heard(const api::Object& node) {
  if (node.resource_version() <= api_revision_) return;
  const Json before = std::exchange(api_status_, Json());
  static_cast<void>(take(node));
  const bool same = str(client::find_condition(api_status_, "Ready"), "status") ==
                        str(client::find_condition(before, "Ready"), "status") &&
                    at(api_status_, "capacity") == at(before, "capacity") &&
                    at(api_status_, "allocatable") == at(before, "allocatable");
  if (same || written_.is_null()) return;
  written_ = Json();
  changed_.notify();
}

Task<void> NodeReporter::status_loop() {
  while (true) {
    co_await changed_.wait();
    auto written = up_to_date_ ? co_await write_status() : co_await bring_up_to_date();
    if (written) {
      status_retry_.succeeded();
      continue;
    }
    // Someone deleted the Node: it comes back, as on Kubernetes.
    if (written.error().code == Code::kNotFound) up_to_date_ = false;
    co_await parts_.clock.sleep(status_retry_.failed(written.error()));
    changed_.notify();
  }
}

Task<Status> NodeReporter::write_status() {
  const NodeStatusInputs inputs{.options = options_,
                                .machine = machine_,
                                .pressure = pressure_,
                                .limitations = parts_.runtime.limitations(),
                                .images = parts_.images.list(),
                                .old = api_status_,
                                .port = port_,
                                .now = parts_.clock.now()};
  Json status = make_node_status(inputs);
  const auto now = parts_.clock.steady();
  const bool due = written_.is_null() || now - written_at_ >= kStatusInterval;
  if (!due && !node_status_differs(status, written_)) co_return Status();
  client::WriteOptions options;
  options.subresource = "status";
  options.field_manager = "kubelet";
  Json patch = {{"status", status}};
  for (const auto& [name, amount] : at(api_status_, "allocatable").items()) {
    if (!status["allocatable"].contains(name)) patch["status"]["allocatable"][name] = nullptr;
  }
  auto answer = co_await parts_.client.patch(api::res("nodes"), "", options_.node_name, client::PatchType::kStrategic,
                                             std::move(patch), std::move(options));
  if (!answer) co_return fail(std::move(answer).error());
  if (!take(**answer)) co_return Status();  // heard() has seen to the next write
  written_ = std::move(status);
  written_at_ = now;
  co_return Status();
}

}  // namespace brume::node
