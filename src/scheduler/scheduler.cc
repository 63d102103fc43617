#include "brume/scheduler/scheduler.h"

#include <algorithm>
#include <memory>
#include <string>

#include "brume/api/selector.h"
#include "brume/base/json.h"
#include "brume/base/log.h"
#include "brume/base/task.h"
#include "brume/client/events.h"
#include "cache.h"
#include "cycle.h"
#include "plugins.h"
#include "queue.h"

namespace brume::scheduler {

namespace {

// Pods placed in a row before other tasks of the loop get their turn.
constexpr int kPodsPerTurn = 16;

bool finished(const api::Object& pod) {
  const auto phase = api::field_value(pod.bytes(), "status.phase");
  return phase == "Succeeded" || phase == "Failed";
}

}  // namespace

struct Scheduler::State {
  State(client::InformerFactory& factory, Options o);

  client::InformerFactory& informers;
  Options options;
  client::Informer& nodes;
  client::Informer& pods;
  Profile profile;
  NodeCache cache;
  SchedulingQueue queue;
  Cycle cycle;
  client::EventRecorder events;
  TaskGroup tasks;
  Event work;           // the queue has a ready pod, or a binding has ended
  bool dozing = false;  // a sleeper waits for `wake_at`
  SchedulingQueue::SteadyTime wake_at{};
  std::size_t bindings = 0;

  [[nodiscard]] Clock& clock() const { return informers.clock(); }

  void node_set(const ObjectPtr& node);
  void node_gone(const ObjectPtr& node);
  void pod_set(const ObjectPtr& pod, bool spec_changed);
  void pod_gone(const ObjectPtr& pod);
  void something_changed();
  void doze();

  static Task<void> run(State* self);
  static Task<void> sleep(State* self, SchedulingQueue::SteadyTime until);
  static Task<void> bind(State* self, SchedulingQueue::Entry entry, std::string node);
  static Task<void> report(State* self, std::shared_ptr<const PodInfo> pod, std::string reason, std::string message);
  void place(SchedulingQueue::Entry entry);
  void give_up(SchedulingQueue::Entry entry, const Diagnosis& diagnosis);
  bool reserve(CycleState& state, const PodInfo& pod, const NodeInfo& node);
};

Scheduler::State::State(client::InformerFactory& factory, Options o)
    : informers(factory),
      options(std::move(o)),
      nodes(factory.informer("nodes")),
      pods(factory.informer("pods")),
      profile(default_profile(factory.client(), options.strategy)),
      queue(*profile.queue_sort),
      cycle(profile, options.percentage_of_nodes_to_score),
      events(factory.client(), factory.executor(), factory.clock(), options.name),
      tasks(factory.executor()),
      work(factory.executor()) {
  nodes.add_handler({.added = [this](const ObjectPtr& now) { node_set(now); },
                     .updated = [this](const ObjectPtr&, const ObjectPtr& now) { node_set(now); },
                     .deleted = [this](const ObjectPtr& last) { node_gone(last); }});
  pods.add_handler({.added = [this](const ObjectPtr& now) { pod_set(now, true); },
                    .updated =
                        [this](const ObjectPtr& old, const ObjectPtr& now) {
                          pod_set(now, old->generation() != now->generation() || old->labels() != now->labels());
                        },
                    .deleted = [this](const ObjectPtr& last) { pod_gone(last); }});
}

// What the informers tell
// ------------------------------------------------------------------------------------------------

void Scheduler::State::something_changed() {
  queue.move_all(clock().steady());
  work.notify();
}

void Scheduler::State::node_set(const ObjectPtr& node) {
  if (cache.set_node(node)) something_changed();
}

void Scheduler::State::node_gone(const ObjectPtr& node) { cache.remove_node(node->name()); }

void Scheduler::State::pod_set(const ObjectPtr& pod, bool spec_changed) {
  if (finished(*pod)) return pod_gone(pod);
  const auto node = api::field_value(pod->bytes(), "spec.nodeName");
  if (!node.empty()) {
    queue.remove(pod->uid());
    if (cache.set_pod(pod, node)) something_changed();
    return;
  }
  if (pod->deleting()) return queue.remove(pod->uid());
  // Its binding is being written: the pod in the copy is behind what is known here.
  if (cache.is_placed(pod->uid())) return;
  const bool known = queue.find(pod->uid()) != nullptr;
  // A status that changed (such as our own PodScheduled condition) is no reason to try again.
  if (known && !spec_changed) return;
  auto info = std::make_shared<const PodInfo>(decode_pod(pod));
  if (info->scheduler != options.name) return;
  if (info->gated && !known) {
    tasks.spawn("report",
                report(this, info, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"));
  }
  queue.put(std::move(info), clock().now());
  work.notify();
}

void Scheduler::State::pod_gone(const ObjectPtr& pod) {
  queue.remove(pod->uid());
  if (cache.remove_pod(pod->uid())) something_changed();
}

// Placing
// ----------------------------------------------------------------------------------------------------------------

Task<void> Scheduler::State::run(State* self) {
  co_await self->nodes.wait_synced();
  co_await self->pods.wait_synced();
  while (true) {
    self->queue.tick(self->clock().steady());
    int turn = 0;
    while (self->bindings < self->options.max_bindings) {
      auto entry = self->queue.pop();
      if (!entry) break;
      self->place(std::move(*entry));
      if (++turn % kPodsPerTurn == 0) co_await yield_now();
    }
    self->doze();
    co_await self->work.wait();
  }
}

// Arranges to be woken when the next pod's back-off ends.
void Scheduler::State::doze() {
  const auto next = queue.next_tick();
  if (!next || (dozing && wake_at <= *next)) return;
  dozing = true;
  wake_at = *next;
  tasks.spawn("scheduler-timer", sleep(this, *next));
}

Task<void> Scheduler::State::sleep(State* self, SchedulingQueue::SteadyTime until) {
  const auto now = self->clock().steady();
  if (until > now) co_await self->clock().sleep(until - now);
  if (self->wake_at == until) self->dozing = false;
  self->work.notify();
}

bool Scheduler::State::reserve(CycleState& state, const PodInfo& pod, const NodeInfo& node) {
  for (std::size_t i = 0; i < profile.reserves.size(); ++i) {
    if (profile.reserves[i]->reserve(state, pod, node)) continue;
    while (i-- > 0) profile.reserves[i]->unreserve(state, pod, node);
    return false;
  }
  return true;
}

void Scheduler::State::place(SchedulingQueue::Entry entry) {
  const auto& pod = *entry.pod;
  const auto now = pods.get(pod.object->ns(), pod.object->name());
  if (!now || now->uid() != pod.object->uid() || now->deleting()) return;
  const auto choice = cycle.choose(pod, cache);
  if (choice.node == nullptr) return give_up(std::move(entry), choice.diagnosis);
  CycleState state;
  if (!reserve(state, pod, *choice.node)) return queue.add_backoff(std::move(entry), clock().steady());
  std::string node = choice.node->name;
  cache.assume(pod, node);
  ++bindings;
  tasks.spawn("bind", bind(this, std::move(entry), std::move(node)));
}

Task<void> Scheduler::State::bind(State* self, SchedulingQueue::Entry entry, std::string node) {
  struct Ended {
    State* self;
    ~Ended() {
      --self->bindings;
      self->work.notify();
    }
  } ended{self};
  const auto pod = entry.pod;
  const auto done = co_await self->profile.binder->bind(pod, node);
  if (done) {
    self->events.normal(*pod->object, "Scheduled", "Successfully assigned " + pod->key() + " to " + node);
    co_return;
  }
  self->cache.forget(pod->object->uid());
  CycleState state;
  if (const auto* info = self->cache.find(node)) {
    for (const auto& plugin : self->profile.reserves) plugin->unreserve(state, *pod, *info);
  }
  self->something_changed();
  // Gone, or bound by someone else: the informer tells, or has told.
  const auto now = self->pods.get(pod->object->ns(), pod->object->name());
  if (done.error().code == Code::kNotFound || !now || now->uid() != pod->object->uid() ||
      !api::field_value(now->bytes(), "spec.nodeName").empty()) {
    co_return;
  }
  log::warn("binding failed", {{"pod", pod->key()}, {"node", node}, {"error", done.error().message}});
  self->events.warning(*pod->object, "FailedScheduling", "binding rejected: " + done.error().message);
  self->queue.add_backoff(std::move(entry), self->clock().steady());
}

void Scheduler::State::give_up(SchedulingQueue::Entry entry, const Diagnosis& diagnosis) {
  auto message = diagnosis.message(*entry.pod);
  CycleState state;
  for (const auto& plugin : profile.post_filters) message += " " + plugin->post_filter(state, *entry.pod);
  events.warning(*entry.pod->object, "FailedScheduling", message);
  tasks.spawn("report", report(this, entry.pod, "Unschedulable", std::move(message)));
  queue.add_unschedulable(std::move(entry), clock().steady());
}

// Writes the pod's PodScheduled condition where it differs.
Task<void> Scheduler::State::report(State* self, std::shared_ptr<const PodInfo> pod, std::string reason,
                                    std::string message) {
  const auto now = self->pods.get(pod->object->ns(), pod->object->name());
  const Json value = (now ? now : pod->object)->parse();
  const Json& have = client::find_condition(at(value, "status"), "PodScheduled");
  if (str(have, "status") == "False" && str(have, "reason") == reason && str(have, "message") == message) co_return;
  const bool moved = str(have, "status") != "False";
  Json condition = {
      {"type", "PodScheduled"},
      {"status", "False"},
      {"reason", reason},
      {"message", message},
      {"lastProbeTime", nullptr},
      {"lastTransitionTime", moved ? Json(format_rfc3339(self->clock().now())) : at(have, "lastTransitionTime")}};
  Json patch = {{"metadata", {{"uid", pod->object->uid()}}},
                {"status", {{"conditions", Json::array({std::move(condition)})}}}};
  auto done = co_await self->informers.client().patch(self->pods.resource(), pod->object->ns(), pod->object->name(),
                                                      client::PatchType::kStrategic, std::move(patch),
                                                      {.subresource = "status"});
  if (!done && done.error().code != Code::kNotFound && done.error().code != Code::kConflict) {
    log::warn("the pod's condition could not be written", {{"pod", pod->key()}, {"error", done.error().message}});
  }
}

// Scheduler
// --------------------------------------------------------------------------------------------------------------

Scheduler::Scheduler(client::InformerFactory& informers, Options options)
    : state_(std::make_unique<State>(informers, std::move(options))) {}
Scheduler::~Scheduler() = default;

void Scheduler::start() {
  state_->informers.start();
  state_->tasks.spawn("scheduler", State::run(state_.get()));
}

Task<void> Scheduler::stop() {
  co_await state_->tasks.stop();
  co_await state_->events.stop();
}

std::size_t Scheduler::pending() const { return state_->queue.size(); }

}  // namespace brume::scheduler
