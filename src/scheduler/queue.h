// The pods that wait: ready, backing off, unschedulable until something changes, and gated.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "profile.h"

namespace brume::scheduler {

/// kube-scheduler's values.
struct QueueOptions {
  std::chrono::steady_clock::duration first_backoff = std::chrono::seconds(1);
  std::chrono::steady_clock::duration max_backoff = std::chrono::seconds(10);
  /// An unschedulable pod is tried again after this, whatever happened.
  std::chrono::steady_clock::duration max_unschedulable = std::chrono::minutes(5);
};

/// Owner: the scheduler's loop. It does not wait by itself: the owner calls tick() when next_tick() has come.
class SchedulingQueue {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;

  struct Entry {
    PodPtr pod;
    Profile* profile = nullptr;
    WallTime queued = {};  ///< last
    int attempts = 0;
    int rejections = 0;  ///< in which the pod did not fit
    int errors = 0;      ///< in a row since
    SteadyTime last_attempt = {};
    std::uint64_t plugins = 0;  ///< that rejected it last
    std::uint64_t pending_plugins = 0;
    std::uint64_t order = 0;      ///< of insertion, for equal times
    bool reported_gated = false;  ///< whoever reports gated pods has seen it
  };

  /// All profiles sort alike: by the first one's queue_sort.
  SchedulingQueue(const std::vector<Profile*>& profiles, QueueOptions options);

  /// A pod that is new here: it is ready at once, unless a pre_enqueue plugin refuses it. False: it is gated.
  bool add(const PodPtr& pod, Profile& profile, WallTime now);
  /// A new version of a pod that waits; `change` says what is new. Does nothing for a pod that is not here.
  void update(const PodPtr& pod, const Change& change, SteadyTime now);
  void remove(const std::string& uid);
  /// The best ready pod, else one that backs off from not having fitted, or nothing. It is out of the queue until one
  /// of the two below puts it back.
  std::optional<Entry> pop();
  /// No node fits, for the plugins named in the entry: waits for an event.
  void add_unschedulable(Entry entry, WallTime wall, SteadyTime now);
  /// An error that may pass by itself, or nobody knows what would help: backs off.
  void add_backoff(Entry entry, WallTime wall, SteadyTime now);
  /// Something changed: pods whose rejecting plugins say that it matters become ready, or back off for what is left of
  /// their time.
  void changed(const Change& change, SteadyTime now);
  /// Whatever changed, this pod is to be tried now.
  void activate(const std::string& uid, SteadyTime now);
  /// Asks the gates again, if one holds the pod.
  void release(const std::string& uid, SteadyTime now);
  /// Moves what is due.
  void tick(SteadyTime now);
  [[nodiscard]] std::optional<SteadyTime> next_tick() const;

  [[nodiscard]] const Entry* find(const std::string& uid) const;
  /// Calls for each pod that waits.
  template <typename Visit>
  void each(Visit visit) const {
    for (const auto& [uid, slot] : entries_) visit(*slot->entry.pod);
  }
  [[nodiscard]] bool is_ready(const std::string& uid) const;
  struct Counts {
    std::size_t active, backoff, unschedulable, gated;
  };
  [[nodiscard]] Counts counts() const {
    return {active_.size(), backoff_.size(), unschedulable_.size(), gated_.size()};
  }
  [[nodiscard]] std::size_t ready() const { return active_.size(); }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  enum class Place : std::uint8_t { kActive, kBackoff, kUnschedulable, kGated };
  struct Slot {
    Entry entry;
    Place place = Place::kGated;
    std::multimap<SteadyTime, Slot*>::iterator timer = {};  // of kBackoff and kUnschedulable
  };
  struct Order {
    const Plugin* sort;
    bool operator()(const Slot* a, const Slot* b) const;
  };
  struct Interest {
    std::size_t place;  // of the plugin
    EventInterest event;
  };

  /// Whether the change is one that a plugin which rejected the entry's pod waits for; and whether at once.
  enum class Worth : std::uint8_t { kNo, kAfterBackoff, kAtOnce };
  [[nodiscard]] Worth worth(const Entry& entry, const Change& change) const;
  [[nodiscard]] std::chrono::steady_clock::duration backoff(const Entry& entry) const;
  Slot& insert(Entry entry);
  void unlink(Slot& slot);
  /// To kActive, or to kBackoff until its time is up; to kGated when a plugin refuses it.
  void make_ready(Slot& slot, bool at_once, SteadyTime now);
  void set_aside(Slot& slot, Place place, SteadyTime due);
  bool pass_gates(Slot& slot);

  QueueOptions options_;
  std::unordered_map<std::string, std::unique_ptr<Slot>> entries_;  // by uid
  std::set<Slot*, Order> active_;
  std::multimap<SteadyTime, Slot*> backoff_;
  std::multimap<SteadyTime, Slot*> unschedulable_;
  std::set<Slot*> gated_;
  std::unordered_map<const Profile*, std::vector<Interest>> interests_;
  std::uint64_t next_order_ = 0;
};

}  // namespace brume::scheduler
