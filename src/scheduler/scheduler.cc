#include "brume/scheduler/scheduler.h"

#include <algorithm>
#include <memory>
#include <string>

#include "brume/api/selector.h"
#include "brume/base/json.h"
#include "brume/base/log.h"
#include "brume/base/task.h"
#include "state.h"

namespace brume::scheduler {

namespace {

// Pods placed in a row before other tasks of the loop get their turn.
constexpr int kPodsPerTurn = 16;
// core/v1 Event's note; longer messages are cut (NoteLengthLimit).
constexpr std::size_t kMaxEventMessage = 1024;

std::string shortened(const std::string& message) {
  constexpr std::string_view kMore = " ...";
  if (message.size() <= kMaxEventMessage) return message;
  return message.substr(0, kMaxEventMessage - kMore.size()).append(kMore);
}

}  // namespace

Scheduler::State::State(client::InformerFactory& factory, Options o)
    : informers(factory),
      options(std::move(o)),
      nodes(factory.informer("nodes")),
      pods(factory.informer("pods")),
      cycle(cache),
      events(factory.client(), factory.executor(), factory.clock(), options.name),
      tasks(factory.executor()),
      reporter(factory, pods, tasks),
      work(factory.executor()) {}

Status Scheduler::State::set_up(const Config& config) {
  std::vector<Profile*> all;
  for (const auto& one : config.profiles) {
    Handle handle{.informers = informers,
                  .nodes = cache,
                  .nominations = nominations,
                  .waiting = *this,
                  .events = events,
                  .reporter = reporter,
                  .tasks = tasks,
                  .announce = [this](const Change& change) { changed(change); },
                  .activate =
                      [this](const std::string& uid) {
                        queue->activate(uid, clock().steady());
                        work.notify();
                      },
                  .release =
                      [this](const std::string& uid) {
                        queue->release(uid, clock().steady());
                        work.notify();
                      }};
    BRUME_TRY(auto made, build_profile(one, config, std::move(handle)));
    all.push_back(made.get());
    profiles.push_back(std::move(made));
  }
  queue = std::make_unique<SchedulingQueue>(all, config.queue);
  watch();
  return {};
}

Profile* Scheduler::State::profile(std::string_view scheduler_name) const {
  for (const auto& one : profiles) {
    if (one->name() == scheduler_name) return one.get();
  }
  return nullptr;
}

// Placing
// ----------------------------------------------------------------------------------------------------------------

Task<void> Scheduler::State::run(State* self) {
  co_await self->informers.wait_synced();
  while (true) {
    self->queue->tick(self->clock().steady());
    int turn = 0;
    while (self->bindings < self->options.max_bindings) {
      auto entry = self->queue->pop();
      if (!entry) break;
      self->place(std::move(*entry));
      if (++turn % kPodsPerTurn == 0) co_await yield_now();
    }
    self->count_pending();
    self->doze();
    co_await self->work.wait();
  }
}

// Arranges to be woken when the next pod's back-off ends.
void Scheduler::State::doze() {
  const auto next = queue->next_tick();
  if (!next || (!sleepers.empty() && *sleepers.begin() <= *next)) return;
  sleepers.insert(*next);
  tasks.spawn("scheduler-timer", sleep(this, *next));
}

Task<void> Scheduler::State::sleep(State* self, SchedulingQueue::SteadyTime until) {
  const auto now = self->clock().steady();
  if (until > now) co_await self->clock().sleep(until - now);
  self->sleepers.erase(until);
  self->work.notify();
}

void Scheduler::State::count_pending() {
  const auto counts = queue->counts();
  metrics.active.set(static_cast<double>(counts.active));
  metrics.backoff.set(static_cast<double>(counts.backoff));
  metrics.unschedulable.set(static_cast<double>(counts.unschedulable));
  metrics.gated.set(static_cast<double>(counts.gated));
}

void Scheduler::State::place(SchedulingQueue::Entry entry) {
  const auto& pod = *entry.pod;
  const auto now = pods.get(pod.ns(), pod.name());
  if (!now || now->uid() != pod.uid() || now->deleting()) return;
  tidy();
  auto state = std::make_shared<CycleState>();
  auto choice = cycle.choose(*entry.profile, *state, pod);
  if (choice.node == nullptr) return give_up(std::move(entry), *state, std::move(choice));
  std::string node = choice.node->name;
  cache.assume(entry.pod, node);
  nominations.remove(pod.uid());
  if (const auto held = hold(entry, *state, node); !held.ok()) {
    let_go(entry, *state, node);
    return give_up_on(std::move(entry), node, held, false);
  }
  tasks.spawn("bind", bind(this, std::move(entry), std::move(state), std::move(node)));
}

void Scheduler::State::tidy() {
  forget_passing_reasons();
  cache.tallies().trim();
  if (!resource_names_pile_up()) return;
  sweep_resource_names([this](const std::function<void(const Resources&)>& keep) {
    const auto keep_footprint = [&keep](const Footprint& footprint) {
      keep(footprint.requests);
      keep(footprint.scoring);
    };
    decoder.each_spec([&](const PodSpec& spec) { keep_footprint(spec.footprint); });
    queue->each([&](const PodInfo& pod) { keep_footprint(*pod.footprint); });
    cache.each([&](const NodeInfo& node) {
      keep(node.allocatable);
      keep(node.requested);
      keep(node.scoring);
      for (const auto& pod : node.pods) keep_footprint(*pod->footprint);
    });
  });
}

void Scheduler::State::give_up(SchedulingQueue::Entry entry, CycleState& state, Choice choice) {
  auto& diagnosis = choice.diagnosis;
  if (choice.verdict.code == Verdict::Code::kError) {
    return put_back(std::move(entry), choice.verdict, choice.verdict.message(), false);
  }
  std::optional<std::string> nominated = "";
  std::string message = "no nodes available to schedule pods";
  if (diagnosis.nodes > 0) {
    for (auto* plugin : entry.profile->at(point::kPostFilter)) {
      auto result = plugin->post_filter(state, entry.pod, diagnosis);
      nominated = std::move(result.node);
      diagnosis.post_filter_message = result.verdict.message();
      if (result.verdict.ok()) break;
    }
    message = diagnosis.message();
  }
  entry.plugins = diagnosis.plugins;
  entry.pending_plugins = diagnosis.pending_plugins;
  if (nominated) {
    const std::string held = nominations.node_of(entry.pod->uid());
    nominations.set(entry.pod, *nominated);
    if (!held.empty() && held != *nominated) leaves_room(entry.pod);
  }
  metrics.attempts.with({"unschedulable", entry.profile->name()}).add();
  events.warning(*entry.pod->object, "FailedScheduling", shortened(message));
  reporter.report(entry.pod, {.reason = "Unschedulable", .message = std::move(message), .nominated_node = nominated});
  queue->add_unschedulable(std::move(entry), clock().now(), clock().steady());
}

void Scheduler::State::give_up_on(SchedulingQueue::Entry entry, const std::string& node, const Verdict& verdict,
                                  bool later) {
  if (!verdict.rejected()) return put_back(std::move(entry), verdict, verdict.message(), later);
  Diagnosis diagnosis;
  diagnosis.nodes = 1;
  diagnosis.answers.push_back({cache.find(node), verdict});
  put_back(std::move(entry), verdict, diagnosis.message(), later);
}

// `later`: time has passed since the node was chosen, so what the plugins wait for may have happened already.
void Scheduler::State::put_back(SchedulingQueue::Entry entry, const Verdict& verdict, const std::string& message,
                                bool later) {
  const auto& pod = *entry.pod;
  const auto now = pods.get(pod.ns(), pod.name());
  // Gone, or bound by someone else: the informer tells, or has told.
  if (!now || now->uid() != pod.uid() || now->deleting() || !api::field_value(*now, "spec.nodeName").empty()) {
    return;
  }
  const bool rejected = verdict.rejected();
  if (!rejected) log::warn("scheduling failed", {{"pod", pod.key()}, {"error", message}});
  metrics.attempts.with({rejected ? "unschedulable" : "error", entry.profile->name()}).add();
  events.warning(*pod.object, "FailedScheduling", shortened(message));
  reporter.report(entry.pod, {.reason = rejected ? "Unschedulable" : "SchedulerError",
                              .message = message,
                              .nominated_node = std::string(),
                              .nominated_before = later});
  entry.pod = decoder.decode(now, entry.pod);
  if (rejected && !later) {
    queue->add_unschedulable(std::move(entry), clock().now(), clock().steady());
  } else {
    queue->add_backoff(std::move(entry), clock().now(), clock().steady());
  }
  work.notify();
}

// Scheduler
// --------------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<Scheduler>> Scheduler::create(client::InformerFactory& informers, Options options) {
  const auto config = options.config ? options.config : std::make_shared<const Config>(default_config());
  auto state = std::make_unique<State>(informers, std::move(options));
  BRUME_CHECK(state->set_up(*config));
  return std::unique_ptr<Scheduler>(new Scheduler(std::move(state)));
}

Scheduler::Scheduler(std::unique_ptr<State> state) : state_(std::move(state)) {}
Scheduler::~Scheduler() = default;

void Scheduler::start() {
  state_->informers.start();
  state_->tasks.spawn("scheduler", State::run(state_.get()));
}

Task<void> Scheduler::stop() {
  co_await state_->tasks.stop();
  co_await state_->events.stop();
}

std::size_t Scheduler::pending() const { return state_->queue->size(); }

}  // namespace brume::scheduler
