// From a chosen node to a bound pod: permits, preparation, the binding itself; and undoing it all.
#include <algorithm>

#include "brume/api/selector.h"
#include "brume/base/json.h"
#include "brume/base/log.h"
#include "state.h"

namespace brume::scheduler {

namespace {

std::string running(std::string_view point, const Plugin& plugin, const Verdict& verdict) {
  return "running " + std::string(point) + " plugin \"" + std::string(plugin.name()) + "\": " + verdict.message();
}

// As Go prints a duration of whole seconds, which is what permit plugins give: 10s, 1m30s.
std::string go_seconds(std::chrono::steady_clock::duration duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration).count();
  const auto rest = std::to_string(seconds % 60) + "s";
  if (seconds < 60) return rest;
  if (seconds < 3600) return std::to_string(seconds / 60) + "m" + rest;
  return std::to_string(seconds / 3600) + "h" + std::to_string(seconds / 60 % 60) + "m" + rest;
}

}  // namespace

Verdict Scheduler::State::hold(SchedulingQueue::Entry& entry, CycleState& state, const std::string& node) {
  auto& profile = *entry.profile;
  const auto refuse = [&](std::string_view point, const Plugin& plugin, const Verdict& verdict) {
    if (!verdict.rejected()) return Verdict::error(running(point, plugin, verdict));
    entry.plugins = std::uint64_t{1} << profile.place_of(plugin);
    return verdict;
  };
  for (auto* plugin : profile.at(point::kReserve)) {
    auto verdict = plugin->reserve(state, *entry.pod, node);
    if (!verdict.ok()) return refuse("Reserve", *plugin, verdict);
  }
  Waiting held{.pod = entry.pod, .node = node, .deadline = SchedulingQueue::SteadyTime::max()};
  for (auto* plugin : profile.at(point::kPermit)) {
    auto [verdict, timeout] = plugin->permit(state, *entry.pod, node);
    if (verdict.ok()) continue;
    if (verdict.code != Verdict::Code::kWait) return refuse("Permit", *plugin, verdict);
    held.plugins.emplace_back(plugin->name());
    const auto deadline = clock().steady() + timeout;
    if (deadline >= held.deadline) continue;
    held.deadline = deadline;
    held.deadline_by =
        "rejected due to timeout after waiting " + go_seconds(timeout) + " at plugin " + std::string(plugin->name());
  }
  if (held.plugins.empty()) return {};
  held.changed = std::make_unique<Event>(tasks.executor());
  waiting.insert_or_assign(entry.pod->uid(), std::move(held));
  return {};
}

void Scheduler::State::let_go(const SchedulingQueue::Entry& entry, CycleState& state, const std::string& node) {
  const auto plugins = entry.profile->at(point::kReserve);
  for (std::size_t i = plugins.size(); i-- > 0;) plugins[i]->unreserve(state, *entry.pod, node);
  cache.forget(entry.pod->uid());
}

// Permits
// --------------------------------------------------------------------------------------------------------------

void Scheduler::State::allow(const std::string& uid, std::string_view plugin) {
  const auto it = waiting.find(uid);
  if (it == waiting.end()) return;
  std::erase(it->second.plugins, plugin);
  if (it->second.plugins.empty()) it->second.changed->notify();
}

bool Scheduler::State::reject(const std::string& uid, std::string_view plugin, const std::string& message) {
  if (const auto it = waiting.find(uid); it != waiting.end()) {
    if (it->second.rejection) return false;
    it->second.rejection = message;
    it->second.rejected_by = plugin;
    it->second.changed->notify();
    return true;
  }
  const auto it = preparing.find(uid);
  if (it == preparing.end() || it->second.rejection) return false;
  it->second.rejection = message;
  if (it->second.wake) it->second.wake();
  return true;
}

void Scheduler::State::wake_when_ended(const std::string& uid, std::function<void()> wake) {
  if (const auto it = preparing.find(uid); it != preparing.end()) it->second.wake = std::move(wake);
}

const std::string* Scheduler::State::ended(const std::string& uid) const {
  const auto it = preparing.find(uid);
  if (it == preparing.end()) return nullptr;
  const auto& rejection = it->second.rejection;
  return rejection ? &*rejection : nullptr;
}

void Scheduler::State::each(const std::function<void(const PodPtr&, const std::string&)>& visit) const {
  for (const auto& [uid, held] : waiting) visit(held.pod, held.node);
}

Task<Verdict> Scheduler::State::wait_on_permit(Profile& profile, PodPtr pod, std::uint64_t* rejector) {
  const std::string uid = pod->uid();
  // The timer is a task of its own, so that the clock may be a test's.
  const auto deadline = waiting.at(uid).deadline;
  tasks.spawn("permit-timer", [](State* self, std::string pod_uid, SchedulingQueue::SteadyTime until) -> Task<void> {
    const auto now = self->clock().steady();
    if (until > now) co_await self->clock().sleep(until - now);
    const auto it = self->waiting.find(pod_uid);
    if (it != self->waiting.end() && it->second.deadline == until) {
      self->reject(pod_uid, it->second.plugins.empty() ? "" : it->second.plugins.front(), it->second.deadline_by);
    }
  }(this, uid, deadline));
  while (!waiting.at(uid).plugins.empty() && !waiting.at(uid).rejection) co_await waiting.at(uid).changed->wait();
  const auto held = std::move(waiting.at(uid));
  waiting.erase(uid);
  if (!held.rejection) co_return Verdict{};
  for (const auto& plugin : profile.plugins()) {
    if (plugin->name() == held.rejected_by) *rejector = std::uint64_t{1} << profile.place_of(*plugin);
  }
  co_return Verdict::unschedulable(passing_reason(*held.rejection));
}

// Binding
// -------------------------------------------------------------------------------------------------------------

bool Scheduler::State::must_wait(Profile& profile, CycleState& state, const PodInfo& pod,
                                 const std::string& node) const {
  return waiting.contains(pod.uid()) || std::ranges::any_of(profile.at(point::kPreBind), [&](Plugin* plugin) {
           return !plugin->pre_bind_pre_flight(state, pod, node).skip();
         });
}

Task<Verdict> Scheduler::State::make_ready(Profile& profile, std::shared_ptr<CycleState> state, PodPtr pod,
                                           std::string node, std::uint64_t* rejector) {
  const std::string uid = pod->uid();
  preparing.try_emplace(uid);  // from here on it may be rejected
  co_await reporter.nominate(pod, node);
  Verdict verdict;
  if (waiting.contains(uid)) verdict = co_await wait_on_permit(profile, pod, rejector);
  if (verdict.ok() && ended(uid) == nullptr) verdict = co_await prepare(profile, state, pod, node, rejector);
  const auto prepared = preparing.extract(uid);
  const auto& rejection = prepared.mapped().rejection;
  if (!rejection) co_return verdict;
  *rejector = 0;
  co_return Verdict::unschedulable(passing_reason(*rejection));
}

Task<Verdict> Scheduler::State::prepare(Profile& profile, std::shared_ptr<CycleState> state, PodPtr pod,
                                        std::string node, std::uint64_t* rejector) {
  for (auto* plugin : profile.at(point::kPreBind)) {
    if (plugin->pre_bind_pre_flight(*state, *pod, node).skip()) continue;
    const auto verdict = co_await plugin->pre_bind(state, pod, node);
    if (verdict.ok()) continue;
    *rejector = std::uint64_t{1} << profile.place_of(*plugin);
    if (verdict.rejected()) co_return verdict;
    co_return Verdict::error(running("PreBind", *plugin, verdict));
  }
  co_return Verdict{};
}

Task<Verdict> Scheduler::State::write_binding(Profile& profile, std::shared_ptr<CycleState> state, PodPtr pod,
                                              std::string node) {
  struct Counted {
    State* self;
    explicit Counted(State* s) : self(s) { ++self->bindings; }
    ~Counted() {
      --self->bindings;
      self->work.notify();
    }
  } counted{this};
  for (auto* plugin : profile.at(point::kBind)) {
    const auto verdict = co_await plugin->bind(state, pod, node);
    if (verdict.skip()) continue;
    if (!verdict.ok() && !verdict.rejected()) co_return Verdict::error(running("Bind", *plugin, verdict));
    co_return verdict;
  }
  co_return Verdict::error("no Bind plugin took the pod");
}

Task<void> Scheduler::State::bind(State* self, SchedulingQueue::Entry entry, std::shared_ptr<CycleState> state,
                                  std::string node) {
  const auto pod = entry.pod;
  auto& profile = *entry.profile;
  std::uint64_t rejector = 0;
  Verdict verdict;
  // While it waits, for others or for what it needs, it takes no place among those being written.
  if (self->must_wait(profile, *state, *pod, node)) {
    verdict = co_await self->make_ready(profile, state, pod, node, &rejector);
  }
  if (verdict.ok()) verdict = co_await self->write_binding(profile, state, pod, node);
  if (verdict.ok()) {
    for (auto* plugin : profile.at(point::kPostBind)) plugin->post_bind(*state, *pod, node);
    self->metrics.attempts.with({"scheduled", profile.name()}).add();
    self->events.normal(*pod->object, "Scheduled", "Successfully assigned " + pod->key() + " to " + node);
    co_return;
  }
  self->let_go(entry, *state, node);
  self->changed(
      {.resource = EventResource::kAssignedPod, .actions = action::kDelete, .before = pod->object, .pod_before = pod});
  entry.plugins = rejector;
  self->give_up_on(std::move(entry), node, verdict, true);
}

}  // namespace brume::scheduler
