// Pods that nobody else deletes: finished ones above a threshold, those of nodes that are gone or out of service, and
// those that were deleted before they had a node. And old events.
#include <algorithm>
#include <tuple>

#include "brume/api/selector.h"
#include "brume/client/taints.h"
#include "make.h"

namespace brume::controller {

namespace {

constexpr auto kNodeQuarantine = std::chrono::seconds(40);  // a node may be registered anew within it
constexpr std::string_view kOutOfService = "node.kubernetes.io/out-of-service";
constexpr std::string_view kFinished = "finished";  // queue keys beside pods' ns/name

class PodGc final : public Controller {
 public:
  explicit PodGc(Context& context)
      : Controller(context, "pod-garbage-collector"), pods_(use("pods")), nodes_(use("nodes")) {
    pods_.add_handler({.added = [this](const ObjectPtr& now) { look(now); },
                       .updated = [this](const ObjectPtr&, const ObjectPtr& now) { look(now); },
                       .deleted = nullptr});
    pods_.add_index(kByNode, index_by_node);
    nodes_.add_handler({.added = nullptr,
                        .updated =
                            [this](const ObjectPtr&, const ObjectPtr& node) {
                              if (!out_of_service(*node)) return;
                              for (const auto& pod : pods_.index(kByNode, node->name())) look(pod);
                            },
                        .deleted =
                            [this](const ObjectPtr& node) {
                              for (const auto& pod : pods_.index(kByNode, node->name())) {
                                queue_.add_after(pod->key(), kNodeQuarantine);
                              }
                            }});
  }

 private:
  /// A person has said that the node, which is silent, is off: nothing there will tell of a pod's end (KEP-2268).
  static bool out_of_service(const Object& node) {
    if (node.bytes().find(kOutOfService) == std::string::npos) return false;
    const Json value = node.parse();
    const auto taints = client::decode_taints(at(value, "spec", "taints"));
    return !client::condition_true(at(value, "status"), "Ready") &&
           std::any_of(taints.begin(), taints.end(), [](const auto& taint) { return taint.key == kOutOfService; });
  }

  // Each version of each pod comes by here: two fields are found sooner than a view is made.
  void look(const ObjectPtr& pod) {
    const auto node_name = api::field_value(*pod, "spec.nodeName");
    if (node_name.empty()) {
      if (pod->deleting()) enqueue(pod);
    } else if (nodes_.has_synced()) {
      const auto node = nodes_.get(node_name);
      if (!node) queue_.add_after(pod->key(), kNodeQuarantine);
      if (node && pod->deleting() && out_of_service(*node)) enqueue(pod);
    }
    const auto phase = api::field_value(*pod, "status.phase");
    if (phase == "Succeeded" || phase == "Failed") queue_.add(std::string(kFinished));
  }

  void synced() override {
    pods_.each([this](const ObjectPtr& pod) { look(pod); });
  }

  Task<Status> reconcile(std::string key) override {
    if (key == kFinished) co_return co_await trim_finished();
    const auto pod = pods_.get(key);
    if (!pod) co_return Status{};
    const auto& view = context_.pods.of(pod);
    const bool finished = view.finished();
    if (view.node_name.empty()) {
      if (!pod->deleting()) co_return Status{};
      // A finalizer may hold it; whoever owns that must see that it never will run.
      if (!finished) BRUME_CO_CHECK(co_await mark_failed(pod, false));
      co_return co_await remove(pod);
    }
    if (const auto node = nodes_.get(view.node_name)) {
      if (!pod->deleting() || !out_of_service(*node)) co_return Status{};
      if (!finished) BRUME_CO_CHECK(co_await mark_failed(pod, false));
      co_return co_await remove(pod);
    }
    const auto live = co_await client().get(nodes_.resource(), "", view.node_name);
    if (live) co_return Status{};
    if (live.error().code != Code::kNotFound) co_return fail(live.error());
    if (!finished) BRUME_CO_CHECK(co_await mark_failed(pod, true));
    co_return co_await remove(pod);
  }

  Task<Status> mark_failed(ObjectPtr pod, bool node_gone) {
    const Json value = pod->parse();
    const auto& before = at(value, "status");
    Json status = before;
    status["phase"] = "Failed";
    if (node_gone) {
      client::set_condition(status,
                            {{"type", "DisruptionTarget"},
                             {"status", "True"},
                             {"reason", "DeletionByPodGC"},
                             {"message", "PodGC: node no longer exists"}},
                            clock().now());
    }
    auto written = co_await write_status(client(), pods_.resource(), pod, before, std::move(status));
    if (!written) co_return fail(written.error());
    co_return Status{};
  }

  Task<Status> remove(ObjectPtr pod) {
    auto done = co_await client().remove(pods_.resource(), pod->ns(), pod->name(),
                                         {.grace_period_seconds = 0, .uid = pod->uid()});
    if (!done && done.error().code != Code::kNotFound) co_return done;
    co_return Status{};
  }

  Task<Status> trim_finished() {
    const auto threshold = context_.options.terminated_pod_threshold;
    struct Finished {
      bool stays;  // evicted ones go first, then the oldest
      ObjectPtr pod;
      [[nodiscard]] auto key() const { return std::tie(stays, pod->creation_timestamp(), pod->name()); }
    };
    std::vector<Finished> finished;
    pods_.each([&](const ObjectPtr& pod) {
      const auto& view = context_.pods.of(pod);
      if (pod->deleting() || !view.finished()) return;
      const bool evicted = view.phase == PodPhase::kFailed && api::field_value(*pod, "status.reason") == "Evicted";
      finished.push_back({!evicted, pod});
    });
    if (finished.size() <= threshold) co_return Status{};
    std::sort(finished.begin(), finished.end(), [](const Finished& a, const Finished& b) { return a.key() < b.key(); });
    finished.resize(finished.size() - threshold);
    for (const auto& [stays, pod] : finished) BRUME_CO_CHECK(co_await remove(pod));
    co_return Status{};
  }

  Informer& pods_;
  Informer& nodes_;
};

/// Deletes events some time after their last occurrence. The store knows no leases, so this is what ends them.
class EventTtl final : public Controller {
 public:
  explicit EventTtl(Context& context) : Controller(context, "event-ttl-controller") {}

 private:
  static constexpr auto kShortestPause = std::chrono::seconds(60);

  void synced() override { queue_.add("sweep"); }

  static WallTime last_seen(const Object& event) {
    const Json value = event.parse();
    WallTime last{};
    for (const auto text :
         {str(value, "lastTimestamp"), str(value, "eventTime"), str(at(value, "series"), "lastObservedTime"),
          std::string_view(event.creation_timestamp())}) {
      last = std::max(last, parse_rfc3339(text).value_or(WallTime{}));
    }
    return last;
  }

  Task<Status> reconcile(std::string) override {
    const auto& events = res("events");
    const auto ttl = context_.options.event_ttl;
    BRUME_CO_TRY(auto all, co_await client::list_all(client(), events, {}));
    const auto now = clock().now();
    auto next = now + ttl;
    for (const auto& event : all.items) {
      const auto ends = last_seen(*event) + ttl;
      if (ends > now) {
        next = std::min(next, ends);
        continue;
      }
      auto done = co_await client().remove(events, event->ns(), event->name(), {.uid = event->uid()});
      if (!done && done.error().code != Code::kNotFound && done.error().code != Code::kConflict) co_return done;
    }
    queue_.add_after("sweep", std::max<WallTime::duration>(next - now, kShortestPause));
    co_return Status{};
  }
};

}  // namespace

std::unique_ptr<Controller> make_pod_gc(Context& context) { return std::make_unique<PodGc>(context); }
std::unique_ptr<Controller> make_event_ttl(Context& context) { return std::make_unique<EventTtl>(context); }

}  // namespace brume::controller
