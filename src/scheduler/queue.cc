#include "queue.h"

#include <algorithm>
#include <vector>

namespace brume::scheduler {

bool SchedulingQueue::Order::operator()(const Entry* a, const Entry* b) const {
  if (sort->before(*a->pod, a->queued, *b->pod, b->queued)) return true;
  if (sort->before(*b->pod, b->queued, *a->pod, a->queued)) return false;
  return a->order < b->order;
}

std::chrono::steady_clock::duration SchedulingQueue::backoff(int attempts) {
  auto out = std::chrono::steady_clock::duration(kFirstBackoff);
  for (int i = 1; i < attempts && out < kMaxBackoff; ++i) out *= 2;
  return std::min<std::chrono::steady_clock::duration>(out, kMaxBackoff);
}

void SchedulingQueue::unlink(Slot& slot) {
  switch (slot.place) {
    case Place::kActive: active_.erase(&slot.entry); break;
    case Place::kBackoff: backoff_.erase(slot.timer); break;
    case Place::kUnschedulable: unschedulable_.erase(slot.timer); break;
    case Place::kGated: break;
  }
}

void SchedulingQueue::activate(Slot& slot) {
  unlink(slot);
  slot.place = Place::kActive;
  active_.insert(&slot.entry);
}

void SchedulingQueue::insert(Entry entry, Place place, SteadyTime due) {
  const std::string uid = entry.pod->object->uid();
  remove(uid);
  entry.order = ++next_order_;
  auto& slot = entries_.emplace(uid, Slot{.entry = std::move(entry), .place = place}).first->second;
  if (place == Place::kActive) active_.insert(&slot.entry);
  if (place == Place::kBackoff) slot.timer = backoff_.emplace(due, uid);
  if (place == Place::kUnschedulable) slot.timer = unschedulable_.emplace(due, uid);
}

void SchedulingQueue::put(std::shared_ptr<const PodInfo> pod, WallTime now) {
  Entry entry{.pod = std::move(pod), .queued = now};
  auto it = entries_.find(entry.pod->object->uid());
  if (it != entries_.end()) entry.queued = it->second.entry.queued;
  const auto place = entry.pod->gated ? Place::kGated : Place::kActive;
  insert(std::move(entry), place, {});
}

void SchedulingQueue::remove(const std::string& uid) {
  auto it = entries_.find(uid);
  if (it == entries_.end()) return;
  unlink(it->second);
  entries_.erase(it);
}

std::optional<SchedulingQueue::Entry> SchedulingQueue::pop() {
  if (active_.empty()) return std::nullopt;
  Entry entry = **active_.begin();
  remove(entry.pod->object->uid());
  ++entry.attempts;
  return entry;
}

void SchedulingQueue::add_unschedulable(Entry entry, SteadyTime now) {
  entry.last_attempt = now;
  insert(std::move(entry), Place::kUnschedulable, now + kMaxUnschedulable);
}

void SchedulingQueue::add_backoff(Entry entry, SteadyTime now) {
  entry.last_attempt = now;
  const auto due = now + backoff(entry.attempts);
  insert(std::move(entry), Place::kBackoff, due);
}

void SchedulingQueue::move_all(SteadyTime now) {
  for (const auto& [due, uid] : std::exchange(unschedulable_, {})) {
    auto& slot = entries_.at(uid);
    const auto ready = slot.entry.last_attempt + backoff(slot.entry.attempts);
    if (ready > now) {
      slot.place = Place::kBackoff;
      slot.timer = backoff_.emplace(ready, uid);
    } else {
      slot.place = Place::kActive;
      active_.insert(&slot.entry);
    }
  }
}

void SchedulingQueue::tick(SteadyTime now) {
  for (auto* waiting : {&backoff_, &unschedulable_}) {
    while (!waiting->empty() && waiting->begin()->first <= now) activate(entries_.at(waiting->begin()->second));
  }
}

std::optional<SchedulingQueue::SteadyTime> SchedulingQueue::next_tick() const {
  std::optional<SteadyTime> out;
  for (const auto* waiting : {&backoff_, &unschedulable_}) {
    if (!waiting->empty() && (!out || waiting->begin()->first < *out)) out = waiting->begin()->first;
  }
  return out;
}

const PodInfo* SchedulingQueue::find(const std::string& uid) const {
  auto it = entries_.find(uid);
  return it == entries_.end() ? nullptr : it->second.entry.pod.get();
}

}  // namespace brume::scheduler
