// Jobs: pods until enough of them have succeeded, each counted exactly once.
//
// job.cc decides what a Job is to do, job_pods.cc makes and deletes its pods, job_tracking.cc counts them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "brume/api/selector.h"
#include "controller.h"
#include "job_backoff.h"
#include "job_indexes.h"
#include "job_policy.h"
#include "job_view.h"
#include "pod_control.h"

namespace brume::controller {

class JobController final : public Controller {
 public:
  explicit JobController(Context& context);
  /// Of how many Jobs something is kept in memory.
  [[nodiscard]] std::size_t remembered() const {
    return std::max({backoffs_.size(), written_.size(), untracked_.size(), expectations_.owners()});
  }

 private:
  /// What event handlers ask of a Job.
  struct View {
    api::LabelSelector selector;
    bool finished = false;
    bool foreign = false;
  };
  struct Pod {
    ObjectPtr object;
    std::shared_ptr<const JobPod> view;
    bool tracked = false;  ///< has the finalizer, and no write that takes it away is under way: not counted yet
  };
  struct Condition {
    std::string type, reason, message;
  };
  /// One reconcile's view of a Job: what is, what was found, and the status as it will be.
  struct Sync {
    std::string key;
    ObjectPtr job;
    Json value;  ///< the Job as it was last read or written
    JobSpec spec;
    JobStatus status;
    bool may_scale = false;  ///< no write of pods is outstanding
    std::vector<Pod> pods;
    std::vector<Pod> active;  ///< those that neither ended nor are being deleted
    std::int64_t active_count = 0, ready_count = 0, terminating_count = 0;
    std::int64_t succeeded = 0, failed = 0;  ///< with those that are not counted in the status yet
    Indexes succeeded_before;                ///< indexes, as the status has them
    Indexes succeeded_indexes;
    std::optional<Indexes> failed_indexes;  ///< with backoffLimitPerIndex
    /// With backoffLimitPerIndex: the last failed pod of each index that is to be tried again. It is kept until its
    /// successor exists, which takes the index's failure count from it.
    std::map<std::int64_t, Pod> kept;
    BackoffRecord backoff;
    std::optional<Condition> finished;  ///< how the Job ends, when it is to
  };
  /// A pod whose finalizer was removed by a write that gave `revision`; the copy may not show it yet.
  struct Removed {
    std::string key;
    std::int64_t revision = 0;
  };

  // job.cc: events
  static View decode(const Object& job);
  void job_changed(const ObjectPtr& old, const ObjectPtr& now);
  void job_gone(const ObjectPtr& last);
  void pod_changed(const ObjectPtr& old, const ObjectPtr& now);
  [[nodiscard]] ObjectPtr owner_of(const ObjectPtr& pod);
  void enqueue_matching(const ObjectPtr& orphan);
  void forget(const std::string& uid);

  // job.cc: reconcile
  Task<Status> reconcile(std::string key) override;
  Task<Status> sync_job(std::string key);
  Task<Status> sync_unfinished(std::string key, ObjectPtr job);
  Task<Status> look(Sync& sync);
  void look_at_finished(Sync& sync);
  void look_at_indexes(Sync& sync);
  void judge(Sync& sync);
  void judge_limits(Sync& sync);
  void judge_indexes(Sync& sync);
  Task<Status> act(Sync& sync);
  void report_suspension(Sync& sync);
  Task<Status> release_pods_of(std::string job_uid);
  Task<Status> release_orphan(ObjectPtr pod);

  // job_pods.cc
  Task<Status> manage(Sync& sync);
  Task<Status> add_pods(Sync& sync, std::int64_t count);
  Task<Status> create_pods(Sync& sync, std::int64_t count, std::vector<std::int64_t> indexes);
  Task<Status> create_pod(Sync& sync, Json pod);
  Task<Status> delete_pods(Sync& sync, std::vector<Pod> doomed, bool untrack);
  Task<Status> delete_pod(Sync& sync, Pod pod, bool untrack);
  [[nodiscard]] static std::vector<Pod> surplus(const Sync& sync, std::int64_t at_least);
  [[nodiscard]] static std::vector<std::int64_t> pending_indexes(const Sync& sync, std::int64_t count);
  [[nodiscard]] static Json pod_of_index(const Sync& sync, const Json& pod, std::int64_t index);

  // job_tracking.cc
  Task<Status> track(Sync& sync);
  /// Notes in the status which pods have ended; gives those that may lose their finalizer. `more`: not all fitted.
  std::vector<Pod> note_ended_pods(Sync& sync, bool& more);
  [[nodiscard]] static bool may_lose_finalizer(const Sync& sync, const Pod& pod, bool failed);
  void note_interim_condition(Sync& sync);
  Task<Status> remove_finalizers(Sync& sync, std::vector<Pod> pods);
  Task<Result<std::int64_t>> remove_finalizer(ObjectPtr pod);
  bool finish(Sync& sync);
  void report_finished(const Sync& sync, const Condition& end);
  Task<Status> write_status(Sync& sync);
  void prune_untracked(const std::string& job_uid);

  [[nodiscard]] static bool is_failed(const Sync& sync, const Pod& pod);
  [[nodiscard]] static FailureVerdict verdict(const Sync& sync, const Pod& pod);

  Informer& jobs_;
  Informer& pods_;
  Expectations expectations_;
  client::Projection<View> views_;
  client::Projection<std::shared_ptr<const JobPod>> pod_views_;
  // By the Job's uid.
  std::unordered_map<std::string, BackoffRecord> backoffs_;
  std::unordered_map<std::string, std::int64_t> written_;  ///< revision of the last status written
  std::unordered_map<std::string, std::unordered_map<std::string, Removed>> untracked_;  ///< by the pod's uid
};

/// Several Job events within it lead to one reconcile, so that pods which end together are counted by one write.
inline constexpr auto kJobBatch = std::chrono::milliseconds(20);
/// When the event that a copy lacks does not come by itself.
inline constexpr auto kJobLookAgain = std::chrono::seconds(1);

}  // namespace brume::controller
