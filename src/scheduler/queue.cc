#include "queue.h"

#include <algorithm>
#include <utility>

namespace brume::scheduler {

bool SchedulingQueue::Order::operator()(const Slot* a, const Slot* b) const {
  if (sort != nullptr) {
    if (sort->before(*a->entry.pod, a->entry.queued, *b->entry.pod, b->entry.queued)) return true;
    if (sort->before(*b->entry.pod, b->entry.queued, *a->entry.pod, a->entry.queued)) return false;
  }
  return a->entry.order < b->entry.order;
}

namespace {

const Plugin* sorter_of(const std::vector<Profile*>& profiles) {
  if (profiles.empty() || profiles.front()->at(point::kQueueSort).empty()) return nullptr;
  return profiles.front()->at(point::kQueueSort).front();
}

}  // namespace

SchedulingQueue::SchedulingQueue(const std::vector<Profile*>& profiles, QueueOptions options)
    : options_(options), active_(Order{sorter_of(profiles)}) {
  for (const auto* profile : profiles) {
    auto& interests = interests_[profile];
    for (const auto& plugin : profile->plugins()) {
      for (auto& event : plugin->events()) interests.push_back({profile->place_of(*plugin), std::move(event)});
    }
  }
}

// The nth wait is twice the one before, up to the longest.
std::chrono::steady_clock::duration SchedulingQueue::backoff(const Entry& entry) const {
  const int count = entry.errors > 0 ? entry.errors : entry.rejections;
  if (count == 0) return {};
  auto out = options_.first_backoff;
  for (int i = 1; i < count && out < options_.max_backoff; ++i) out *= 2;
  return std::min(out, options_.max_backoff);
}

void SchedulingQueue::unlink(Slot& slot) {
  switch (slot.place) {
    case Place::kActive: active_.erase(&slot); break;
    case Place::kBackoff: backoff_.erase(slot.timer); break;
    case Place::kUnschedulable: unschedulable_.erase(slot.timer); break;
    case Place::kGated: gated_.erase(&slot); break;
  }
}

SchedulingQueue::Slot& SchedulingQueue::insert(Entry entry) {
  const std::string uid = entry.pod->uid();
  remove(uid);
  entry.order = ++next_order_;
  auto made = std::make_unique<Slot>();
  made->entry = std::move(entry);
  gated_.insert(made.get());
  return *(entries_[uid] = std::move(made));
}

void SchedulingQueue::set_aside(Slot& slot, Place place, SteadyTime due) {
  unlink(slot);
  slot.place = place;
  switch (place) {
    case Place::kActive: active_.insert(&slot); break;
    case Place::kBackoff: slot.timer = backoff_.emplace(due, &slot); break;
    case Place::kUnschedulable: slot.timer = unschedulable_.emplace(due, &slot); break;
    case Place::kGated: gated_.insert(&slot); break;
  }
}

bool SchedulingQueue::pass_gates(Slot& slot) {
  for (auto* plugin : slot.entry.profile->at(point::kPreEnqueue)) {
    if (plugin->pre_enqueue(*slot.entry.pod).ok()) continue;
    slot.entry.plugins |= std::uint64_t{1} << slot.entry.profile->place_of(*plugin);
    set_aside(slot, Place::kGated, {});
    return false;
  }
  return true;
}

void SchedulingQueue::make_ready(Slot& slot, bool at_once, SteadyTime now) {
  if (!pass_gates(slot)) return;
  const auto due = slot.entry.last_attempt + backoff(slot.entry);
  if (at_once || due <= now) {
    set_aside(slot, Place::kActive, {});
  } else {
    set_aside(slot, Place::kBackoff, due);
  }
}

bool SchedulingQueue::add(const PodPtr& pod, Profile& profile, WallTime now) {
  auto& slot = insert({.pod = pod, .profile = &profile, .queued = now});
  make_ready(slot, true, {});
  return slot.place != Place::kGated;
}

void SchedulingQueue::update(const PodPtr& pod, const Change& change, SteadyTime now) {
  const auto it = entries_.find(pod->uid());
  if (it == entries_.end()) return;
  auto& slot = *it->second;
  // Its order may be another now.
  const bool active = slot.place == Place::kActive;
  if (active) active_.erase(&slot);
  slot.entry.pod = pod;
  if (active) active_.insert(&slot);
  if (slot.place == Place::kGated) return make_ready(slot, false, now);
  // A status that changed, such as our own PodScheduled condition, is no reason to try again.
  if (slot.place != Place::kUnschedulable || change.actions == 0) return;
  const auto how = worth(slot.entry, change);
  if (how != Worth::kNo) make_ready(slot, how == Worth::kAtOnce, now);
}

void SchedulingQueue::remove(const std::string& uid) {
  const auto it = entries_.find(uid);
  if (it == entries_.end()) return;
  unlink(*it->second);
  entries_.erase(it);
}

std::optional<SchedulingQueue::Entry> SchedulingQueue::pop() {
  Slot* slot = nullptr;
  if (!active_.empty()) {
    slot = *active_.begin();
  } else {
    // With nothing better to do there is no point in waiting, except after errors (KEP-4247).
    const auto it = std::find_if(backoff_.begin(), backoff_.end(),
                                 [](const auto& timer) { return timer.second->entry.errors == 0; });
    if (it == backoff_.end()) return std::nullopt;
    slot = it->second;
  }
  unlink(*slot);
  Entry entry = std::move(slot->entry);
  entries_.erase(entry.pod->uid());
  ++entry.attempts;
  entry.plugins = entry.pending_plugins = 0;
  return entry;
}

void SchedulingQueue::add_unschedulable(Entry entry, WallTime wall, SteadyTime now) {
  entry.last_attempt = now;
  entry.queued = wall;
  ++entry.rejections;
  entry.errors = 0;
  set_aside(insert(std::move(entry)), Place::kUnschedulable, now + options_.max_unschedulable);
}

void SchedulingQueue::add_backoff(Entry entry, WallTime wall, SteadyTime now) {
  entry.last_attempt = now;
  entry.queued = wall;
  ++entry.errors;
  make_ready(insert(std::move(entry)), false, now);
}

SchedulingQueue::Worth SchedulingQueue::worth(const Entry& entry, const Change& change) const {
  const auto rejectors = entry.plugins | entry.pending_plugins;
  if (rejectors == 0 || change.resource == EventResource::kAny) return Worth::kAfterBackoff;
  auto out = Worth::kNo;
  for (const auto& [place, event] : interests_.at(entry.profile)) {
    const auto bit = std::uint64_t{1} << place;
    if ((rejectors & bit) == 0 || !event.matches(change)) continue;
    if (event.hint && !event.hint(*entry.pod, change)) continue;
    if ((entry.pending_plugins & bit) != 0) return Worth::kAtOnce;
    if (entry.pending_plugins == 0) return Worth::kAfterBackoff;
    out = Worth::kAfterBackoff;
  }
  return out;
}

void SchedulingQueue::changed(const Change& change, SteadyTime now) {
  std::vector<std::pair<Slot*, bool>> moved;
  const auto look_at = [&](Slot* slot) {
    const auto how = worth(slot->entry, change);
    if (how != Worth::kNo) moved.emplace_back(slot, how == Worth::kAtOnce);
  };
  for (const auto& [due, slot] : unschedulable_) look_at(slot);
  for (auto* slot : gated_) look_at(slot);
  for (const auto& [slot, at_once] : moved) make_ready(*slot, at_once, now);
}

void SchedulingQueue::activate(const std::string& uid, SteadyTime now) {
  const auto it = entries_.find(uid);
  if (it != entries_.end() && it->second->place != Place::kActive) make_ready(*it->second, true, now);
}

void SchedulingQueue::release(const std::string& uid, SteadyTime now) {
  const auto it = entries_.find(uid);
  if (it != entries_.end() && it->second->place == Place::kGated) make_ready(*it->second, false, now);
}

void SchedulingQueue::tick(SteadyTime now) {
  for (auto* waiting : {&backoff_, &unschedulable_}) {
    while (!waiting->empty() && waiting->begin()->first <= now) make_ready(*waiting->begin()->second, true, now);
  }
}

std::optional<SchedulingQueue::SteadyTime> SchedulingQueue::next_tick() const {
  std::optional<SteadyTime> out;
  for (const auto* waiting : {&backoff_, &unschedulable_}) {
    if (!waiting->empty() && (!out || waiting->begin()->first < *out)) out = waiting->begin()->first;
  }
  return out;
}

const SchedulingQueue::Entry* SchedulingQueue::find(const std::string& uid) const {
  const auto it = entries_.find(uid);
  return it == entries_.end() ? nullptr : &it->second->entry;
}

bool SchedulingQueue::is_ready(const std::string& uid) const {
  const auto it = entries_.find(uid);
  return it != entries_.end() && it->second->place == Place::kActive;
}

}  // namespace brume::scheduler
