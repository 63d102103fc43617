// Pods that do not, or no longer, tolerate a NoExecute taint of their node are deleted.
#include <algorithm>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "brume/client/taints.h"
#include "make.h"

namespace brume::controller {

namespace {

using client::Taint;
using client::Toleration;

// The longest toleration that is counted; a longer one ends no sooner for any cluster's purposes.
constexpr std::chrono::seconds kForever = std::chrono::years(100);

class TaintEviction final : public Controller {
 public:
  explicit TaintEviction(Context& context)
      : Controller(context, "taint-eviction-controller"),
        nodes_(use("nodes")),
        pods_(use("pods")),
        taints_(nodes_, [](const Object& node) {
          auto all = client::decode_taints(at(node.parse(), "spec", "taints"));
          std::erase_if(all, [](const Taint& taint) { return taint.effect != client::kNoExecute; });
          return all;
        }) {
    pods_.add_index(kByNode, index_by_node);
    // Each version of each pod comes by here, and hardly ever is a node tainted.
    const auto look = [this](const ObjectPtr& pod) {
      if (!tainted_.empty() && tainted_.contains(context_.pods.of(pod).node_name)) enqueue(pod);
    };
    pods_.add_handler({.added = look,
                       .updated = [look](const ObjectPtr&, const ObjectPtr& now) { look(now); },
                       .deleted = [this](const ObjectPtr& pod) { waiting_.erase(pod->uid()); }});
    nodes_.add_handler({.added = [this](const ObjectPtr& now) { look_at_pods(now, !taints_.of(now).empty()); },
                        .updated = [this](const ObjectPtr&, const ObjectPtr& now) { node_changed(now); },
                        .deleted = [this](const ObjectPtr& last) { tainted_.erase(last->name()); }});
  }

 private:
  void node_changed(const ObjectPtr& now) {
    const bool tainted = !taints_.of(now).empty();
    // Heartbeats come every few seconds and change nothing here.
    look_at_pods(now, tainted || tainted_.contains(now->name()));
  }

  void look_at_pods(const ObjectPtr& node, bool matters) {
    if (!taints_.of(node).empty()) {
      tainted_.insert(node->name());
    } else {
      tainted_.erase(node->name());
    }
    if (!matters) return;
    for (const auto& pod : pods_.index(kByNode, node->name())) enqueue(pod);
  }

  /// When the pod is to go: nothing for never. Patience begins when the taint met the pod: when it was added, should it
  /// say so, or else when that was `noticed`; but not before the pod was `placed` on the node.
  [[nodiscard]] std::optional<WallTime> deadline(const std::vector<Taint>& taints,
                                                 const std::vector<Toleration>& tolerations, WallTime noticed,
                                                 WallTime placed) const {
    std::optional<WallTime> first;
    const auto now = clock().now();
    for (const auto& taint : taints) {
      std::optional<WallTime> end = now;
      for (const auto& toleration : tolerations) {
        if (!toleration.tolerates(taint)) continue;
        end.reset();
        if (toleration.seconds) {
          const auto patience =
              std::chrono::seconds(std::clamp<std::int64_t>(*toleration.seconds, 0, kForever.count()));
          end = std::max(taint.added.value_or(noticed), placed) + patience;
        }
        break;
      }
      if (end) first = first ? std::min(*first, *end) : *end;
    }
    return first;
  }

  static WallTime placed_at(const Json& pod) {
    const auto& scheduled = client::find_condition(at(pod, "status"), "PodScheduled");
    return parse_rfc3339(str(scheduled, "lastTransitionTime")).value_or(WallTime{});
  }

  Task<Status> reconcile(std::string key) override {
    const auto pod = pods_.get(key);
    if (!pod || pod->deleting()) co_return Status{};
    const auto node = nodes_.get(context_.pods.of(pod).node_name);
    if (!node) co_return Status{};
    const Json value = pod->parse();
    const auto known = waiting_.find(pod->uid());
    const auto noticed = known == waiting_.end() ? clock().now() : known->second;
    const auto tolerations = client::decode_tolerations(at(value, "spec", "tolerations"));
    const auto end = deadline(taints_.of(node), tolerations, noticed, placed_at(value));
    if (!end) {
      if (waiting_.erase(pod->uid()) > 0) {
        events_.normal(*pod, "TaintManagerEviction", "Cancelling deletion of Pod " + key);
      }
      co_return Status{};
    }
    if (*end > clock().now()) {
      waiting_.try_emplace(pod->uid(), noticed);
      queue_.add_after(key, *end - clock().now());
      co_return Status{};
    }
    events_.normal(*pod, "TaintManagerEviction", "Marking for deletion Pod " + key);
    auto evicted = co_await evict(pod, value);
    // Until then it is remembered since when its time ran.
    if (evicted) waiting_.erase(pod->uid());
    co_return evicted;
  }

  Task<Status> evict(ObjectPtr pod, Json value) {
    Json status = at(value, "status");
    client::set_condition(status,
                          {{"type", "DisruptionTarget"},
                           {"status", "True"},
                           {"reason", "DeletionByTaintManager"},
                           {"message", "Taint manager: deleting due to NoExecute taint"}},
                          clock().now());
    // The condition alone: the node may be there, and have written more of the status meanwhile.
    Json patch = {{"metadata", {{"uid", pod->uid()}}},
                  {"status", {{"conditions", Json::array({client::find_condition(status, "DisruptionTarget")})}}}};
    auto written = co_await client().patch(pods_.resource(), pod->ns(), pod->name(), client::PatchType::kStrategic,
                                           std::move(patch), {.subresource = "status"});
    if (!written && written.error().code != Code::kNotFound) co_return fail(written.error());
    auto done = co_await client().remove(pods_.resource(), pod->ns(), pod->name(), {.uid = pod->uid()});
    if (!done && done.error().code != Code::kNotFound) co_return done;
    co_return Status{};
  }

  Informer& nodes_;
  Informer& pods_;
  client::Projection<std::vector<Taint>> taints_;
  std::unordered_set<std::string> tainted_;            // nodes that had NoExecute taints when last seen
  std::unordered_map<std::string, WallTime> waiting_;  // by uid: pods whose time runs, and since when that is known
};

}  // namespace

std::unique_ptr<Controller> make_taint_eviction(Context& context) { return std::make_unique<TaintEviction>(context); }

}  // namespace brume::controller
