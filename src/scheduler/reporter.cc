#include "reporter.h"

#include <utility>

#include "brume/api/selector.h"
#include "brume/base/json.h"
#include "brume/base/log.h"
#include "brume/client/helpers.h"

namespace brume::scheduler {

void PodReporter::report(const PodPtr& pod, Report report) {
  const auto [it, idle] = waiting_.try_emplace(pod->uid());
  auto& waiting = it->second.next;
  if (waiting) {
    if (!report.nominated_node) report.nominated_node = waiting->nominated_node;
    report.nominated_before |= waiting->nominated_before;
    if (report.reason.empty()) {
      report.reason = waiting->reason;
      report.message = waiting->message;
    }
  }
  waiting = std::move(report);
  if (idle) tasks_.spawn("report", write_all(this, pod));
}

Task<void> PodReporter::nominate(PodPtr pod, std::string node) {
  report(pod, {.nominated_node = std::move(node)});
  const auto written = std::make_shared<Event>(tasks_.executor());
  waiting_.at(pod->uid()).written = written;
  co_await written->wait();
}

Task<void> PodReporter::write_all(PodReporter* self, PodPtr pod) {
  while (true) {
    auto& waiting = self->waiting_[pod->uid()].next;
    if (!waiting) break;
    auto report = std::move(*waiting);
    waiting.reset();
    co_await self->write(pod, std::move(report));
  }
  const auto ended = self->waiting_.extract(pod->uid());
  if (ended.mapped().written) ended.mapped().written->notify();
}

Task<void> PodReporter::write(PodPtr pod, Report report) {
  const auto now = pods_.get(pod->ns(), pod->name());
  if (now && now->uid() != pod->uid()) co_return;
  const Json value = (now ? now : pod->object)->parse();
  const Json& status = at(value, "status");
  Json change = Json::object();
  const Json& have = client::find_condition(status, "PodScheduled");
  const bool same =
      str(have, "status") == "False" && str(have, "reason") == report.reason && str(have, "message") == report.message;
  if (!report.reason.empty() && !same) {
    const bool moved = str(have, "status") != "False";
    Json condition = {{"type", "PodScheduled"},
                      {"status", "False"},
                      {"reason", report.reason},
                      {"message", report.message},
                      {"lastProbeTime", nullptr},
                      {"lastTransitionTime",
                       moved ? Json(format_rfc3339(informers_.clock().now())) : at(have, "lastTransitionTime")}};
    if (const auto generation = pod->object->generation(); generation > 0) {
      condition["observedGeneration"] = generation;
    }
    change["conditions"] = Json::array({std::move(condition)});
  }
  if (report.nominated_node &&
      (report.nominated_before || *report.nominated_node != str(status, "nominatedNodeName"))) {
    change["nominatedNodeName"] = report.nominated_node->empty() ? Json() : Json(*report.nominated_node);
  }
  if (change.empty()) co_return;
  Json patch = {{"metadata", {{"uid", pod->uid()}}}, {"status", std::move(change)}};
  auto done =
      co_await informers_.client().patch(pods_.resource(), pod->ns(), pod->name(), client::PatchType::kStrategic,
                                         std::move(patch), {.subresource = "status"});
  if (!done && done.error().code != Code::kNotFound && done.error().code != Code::kConflict) {
    log::warn("the pod's status could not be written", {{"pod", pod->key()}, {"error", done.error().message}});
  }
}

}  // namespace brume::scheduler
