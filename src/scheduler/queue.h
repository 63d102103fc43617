// The pods that wait: ready, backing off, unschedulable until something changes, and gated.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>

#include "framework.h"

namespace brume::scheduler {

/// Times are kube-scheduler's. Owner: the scheduler's loop. It does not wait by itself: the owner calls tick() when
/// next_tick() has come.
class SchedulingQueue {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;
  static constexpr auto kFirstBackoff = std::chrono::seconds(1);
  static constexpr auto kMaxBackoff = std::chrono::seconds(10);
  static constexpr auto kMaxUnschedulable = std::chrono::minutes(5);  ///< then tried again whatever happened

  struct Entry {
    std::shared_ptr<const PodInfo> pod;
    WallTime queued = {};  ///< first
    int attempts = 0;
    SteadyTime last_attempt = {};
    std::uint64_t order = 0;  ///< of insertion, for equal times
  };

  explicit SchedulingQueue(const QueueSortPlugin& sort) : active_(Order{&sort}) {}

  /// A pod that is new, or whose spec changed: it is ready at once, unless it is gated.
  void put(std::shared_ptr<const PodInfo> pod, WallTime now);
  void remove(const std::string& uid);
  /// The best ready pod, or nothing. It is out of the queue until one of the two below.
  std::optional<Entry> pop();
  /// No node fits: waits for an event.
  void add_unschedulable(Entry entry, SteadyTime now);
  /// An error that may pass by itself (a binding that failed): backs off.
  void add_backoff(Entry entry, SteadyTime now);
  /// Something changed in the cluster: unschedulable pods become ready, or back off for what is left of their time.
  void move_all(SteadyTime now);
  /// Moves what is due.
  void tick(SteadyTime now);
  [[nodiscard]] std::optional<SteadyTime> next_tick() const;

  [[nodiscard]] const PodInfo* find(const std::string& uid) const;
  [[nodiscard]] std::size_t ready() const { return active_.size(); }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  enum class Place { kActive, kBackoff, kUnschedulable, kGated };
  struct Slot {
    Entry entry;
    Place place;
    std::multimap<SteadyTime, std::string>::iterator timer = {};  // of kBackoff and kUnschedulable
  };
  struct Order {
    const QueueSortPlugin* sort;
    bool operator()(const Entry* a, const Entry* b) const;
  };
  static std::chrono::steady_clock::duration backoff(int attempts);
  void unlink(Slot& slot);
  void activate(Slot& slot);
  void insert(Entry entry, Place place, SteadyTime due);

  std::unordered_map<std::string, Slot> entries_;  // by uid
  std::set<const Entry*, Order> active_;
  std::multimap<SteadyTime, std::string> backoff_;
  std::multimap<SteadyTime, std::string> unschedulable_;
  std::uint64_t next_order_ = 0;
};

}  // namespace brume::scheduler
