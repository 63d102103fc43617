// The scheduler's parts: what the informers tell (watching.cc), placing (scheduler.cc) and binding (binding.cc).
#pragma once

#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "brume/base/task.h"
#include "brume/client/events.h"
#include "brume/scheduler/scheduler.h"
#include "cache.h"
#include "config.h"
#include "cycle.h"
#include "metrics.h"
#include "nominations.h"
#include "queue.h"
#include "reporter.h"

namespace brume::scheduler {

struct Scheduler::State final : WaitingPods {
  State(client::InformerFactory& factory, Options o);
  Status set_up(const Config& config);

  client::InformerFactory& informers;
  Options options;
  client::Informer& nodes;
  client::Informer& pods;
  NodeCache cache;
  Nominations nominations;
  PodDecoder decoder;
  Cycle cycle;
  client::EventRecorder events;
  TaskGroup tasks;
  PodReporter reporter;
  Metrics metrics;
  std::vector<std::unique_ptr<Profile>> profiles;
  std::unique_ptr<SchedulingQueue> queue;
  Event work;                                      // the queue has a ready pod, or a binding has ended
  std::set<SchedulingQueue::SteadyTime> sleepers;  // when each wakes the loop
  std::size_t bindings = 0;

  [[nodiscard]] Clock& clock() const { return informers.clock(); }
  [[nodiscard]] Profile* profile(std::string_view scheduler_name) const;

  // What the informers tell
  void watch();
  void watch_namespaces();
  void watch_others();
  void node_set(const ObjectPtr& node);
  void node_gone(const ObjectPtr& node);
  void pod_set(const ObjectPtr& pod);
  void pod_assigned(const ObjectPtr& pod, const std::string& node);
  void pod_waits(const ObjectPtr& pod);
  void leaves_room(const PodPtr& pod);
  void pod_gone(const ObjectPtr& pod);
  void changed(const Change& change);

  // Placing
  static Task<void> run(State* self);
  static Task<void> sleep(State* self, SchedulingQueue::SteadyTime until);
  void doze();
  void count_pending();
  void place(SchedulingQueue::Entry entry);
  /// Lets go of what names that users invented, and nobody uses any more, take.
  void tidy();
  /// What follows on the choice of a node: reserve and permit. Their rejection is given back, and who rejected is
  /// noted.
  Verdict hold(SchedulingQueue::Entry& entry, CycleState& state, const std::string& node);
  void let_go(const SchedulingQueue::Entry& entry, CycleState& state, const std::string& node);
  void give_up(SchedulingQueue::Entry entry, CycleState& state, Choice choice);
  /// The attempt failed after a node was chosen.
  void give_up_on(SchedulingQueue::Entry entry, const std::string& node, const Verdict& verdict, bool later);
  void put_back(SchedulingQueue::Entry entry, const Verdict& verdict, const std::string& message, bool later);

  // Binding
  struct Waiting {  // for permit
    PodPtr pod;
    std::string node;
    std::vector<std::string> plugins;  // that hold it back
    std::optional<std::string> rejection;
    std::string rejected_by;
    SchedulingQueue::SteadyTime deadline;
    std::string deadline_by;
    std::unique_ptr<Event> changed;
  };
  std::unordered_map<std::string, Waiting> waiting;  // by uid
  static Task<void> bind(State* self, SchedulingQueue::Entry entry, std::shared_ptr<CycleState> state,
                         std::string node);
  /// For its permit, or for what a plugin prepares.
  [[nodiscard]] bool must_wait(Profile& profile, CycleState& state, const PodInfo& pod, const std::string& node) const;
  /// Publishes the node and waits for all that comes before the binding.
  Task<Verdict> make_ready(Profile& profile, std::shared_ptr<CycleState> state, PodPtr pod, std::string node,
                           std::uint64_t* rejector);
  Task<Verdict> prepare(Profile& profile, std::shared_ptr<CycleState> state, PodPtr pod, std::string node,
                        std::uint64_t* rejector);
  Task<Verdict> write_binding(Profile& profile, std::shared_ptr<CycleState> state, PodPtr pod, std::string node);
  Task<Verdict> wait_on_permit(Profile& profile, PodPtr pod, std::uint64_t* rejector);
  struct Preparing {
    std::optional<std::string> rejection;
    std::function<void()> wake;
  };
  std::unordered_map<std::string, Preparing> preparing;  // by uid
  void wake_when_ended(const std::string& uid, std::function<void()> wake) override;
  [[nodiscard]] const std::string* ended(const std::string& uid) const override;
  void allow(const std::string& uid, std::string_view plugin) override;
  bool reject(const std::string& uid, std::string_view plugin, const std::string& message) override;
  void each(const std::function<void(const PodPtr&, const std::string&)>& visit) const override;
};

}  // namespace brume::scheduler
