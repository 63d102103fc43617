// PodWorker: drives one pod from spec to status. Level-triggered: whatever happens only changes what the worker knows
// and wakes it; reconcile() then compares with what should be and starts the next small steps.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/eviction.h"
#include "brume/api/object.h"
#include "brume/base/json.h"
#include "brume/base/task.h"
#include "brume/runtime/runtime.h"
#include "spec/allocation.h"
#include "spec/resources.h"
#include "volumes/claims.h"
#include "volumes/payload.h"
#include "worker/alarm.h"
#include "worker/container_run.h"
#include "worker/context.h"
#include "worker/lifecycle.h"
#include "worker/pod_status.h"
#include "worker/write_retry.h"

namespace brume::node {

/// The probes of one running attempt; `stopped` ends their loops at the next tick.
struct ProbeRun {
  bool stopped = false;
};

/// What a pod asks for instead of what it has, and what decides who is served first.
struct ResizeWish {
  PodRequest request;  ///< of the whole pod, as asked
  bool grows = false;  ///< more cpu or memory than it has
  std::int64_t priority = 0;
  bool guaranteed = false;
  std::string since;  ///< RFC 3339, when it was put off first; empty: it is new
};

/// Owner: the node loop. Keep it alive until stop() has returned.
class PodWorker {
 public:
  /// `gone` is called once, when nothing of the pod is left here and in the API.
  PodWorker(WorkerContext& context, api::ObjectPtr pod, std::function<void(const std::string& uid)> gone);
  ~PodWorker();
  PodWorker(const PodWorker&) = delete;
  PodWorker& operator=(const PodWorker&) = delete;

  /// Takes over what an earlier process left running. Before start().
  void adopt(const runtime::SandboxInfo& sandbox);
  /// The pod cannot run here: it fails with this reason. Before start().
  void reject(std::string reason, std::string message);
  void start();
  void update(api::ObjectPtr pod);
  void removed();  ///< the API no longer has the pod
  void container_exited(const runtime::ContainerStatus& status);
  void sandbox_ended();  ///< by itself, after its containers
  void objects_changed();
  void node_changed() { wake(); }  ///< its addresses
  /// Ends the pod's containers without deleting the pod: what stop_pods does. The API keeps the pod as it is.
  void shut_down(std::chrono::seconds grace);
  /// Ends the worker's tasks; containers go on.
  Task<void> stop();

  [[nodiscard]] const std::string& uid() const { return uid_; }
  [[nodiscard]] const Json& pod() const { return pod_; }
  [[nodiscard]] const api::ObjectPtr& object() const { return object_; }
  [[nodiscard]] const ContainerRun* find_run(std::string_view container) const;
  [[nodiscard]] const std::vector<ContainerRun>& runs() const { return runs_; }
  [[nodiscard]] const std::vector<std::string>& pod_ips() const { return pod_ips_; }
  [[nodiscard]] const std::string& netns_path() const { return netns_path_; }
  /// Counts against the node's resources: not rejected, and neither finished nor deleted by force, after which the API
  /// has given its room away, though its sandbox may still be there.
  [[nodiscard]] bool occupies() const;
  [[nodiscard]] bool torn_down() const { return torn_down_; }
  /// Whether evict() would do anything.
  [[nodiscard]] bool evictable() const { return !terminating_ && !finished_ && fail_reason_.empty(); }
  /// Ends the pod as Failed with reason Evicted, with a second of grace. `disruption`: for the node's sake, which a
  /// condition says (KEP-3329).
  void evict(std::string message, bool disruption);
  /// Where its local data lies.
  [[nodiscard]] PodPaths disk_paths() const;
  /// Asks for other resources than it has; decide_resize() is to follow.
  [[nodiscard]] bool resize_asked() const { return asked_differs_ && !terminating_ && !finished_; }
  [[nodiscard]] ResizeWish resize_wish() const;
  /// The node's decision on what resize_wish() asks for: granted, or put off with this message.
  void decide_resize(std::optional<std::string> lacking);
  [[nodiscard]] bool uses_image(std::string_view id) const;
  [[nodiscard]] std::string log_path(const ContainerRun& run, int attempt) const;

 private:
  using Steady = std::chrono::steady_clock::time_point;
  enum class Stage : std::uint8_t { kNone, kBusy, kReady, kFailed };

  // pod_worker.cc
  Task<void> run();
  void wake() { woken_.notify(); }
  void take(api::ObjectPtr pod);
  void reconcile();
  void reconcile_running();
  void reconcile_ended();
  void check_active_deadline();
  void try_start(std::size_t index);
  [[nodiscard]] bool held_back(std::size_t index) const;
  void wake_at(Steady when);
  [[nodiscard]] bool all_ended() const;
  [[nodiscard]] const Json& spec_of(const ContainerRun& run) const;
  [[nodiscard]] client::ObjectReference about(std::string_view container = {}) const;
  void event(bool warning, std::string_view reason, std::string message, std::string_view container = {});
  [[nodiscard]] PodRuntimeInfo runtime_info() const;
  [[nodiscard]] bool host_network() const;

  // setup.cc
  void begin_setup();
  Task<void> set_up_sandbox();
  Task<Status> make_sandbox();
  Task<void> set_up_volumes();
  Task<Status> make_volumes();
  Task<Status> fetch_objects();
  Task<Status> fetch_tokens();
  Task<void> refresh_volumes();
  void setup_failed(Stage& stage, std::string_view reason, std::string message);

  // claims.cc
  Task<Status> fetch_claims();
  Task<Result<ClaimVolume>> fetch_claim(Json volume, std::string claim_name);
  void wait_for_claims(std::string message);

  // start.cc
  Task<void> pull_image(std::size_t index);
  Task<void> start_container(std::size_t index);
  Task<Result<runtime::ContainerStatus>> launch(std::size_t index, int attempt, std::string id, bool& config_error);
  Task<Result<EnvFiles>> read_env_files(Json container);
  Task<std::vector<Json>> pull_secrets();
  Task<void> drop_old_attempts(std::string container, int before);
  void attempt_failed(ContainerRun& run, int attempt, const std::string& id, const std::string& message);

  // stop.cc
  void stop_redefined();
  void restart_all();
  void begin_stop(ContainerRun& run, std::chrono::seconds grace, const std::string& message);
  void advance_stops();
  void stop_all();
  Task<void> pre_stop(std::size_t index, std::string id);
  Task<void> send_signal(std::string id, int signal);
  [[nodiscard]] int stop_signal(const ContainerRun& run) const;
  Task<void> finish_exit(std::size_t index, runtime::ContainerStatus status);
  bool may_tear_down();
  Task<void> tear_down();
  Task<void> delete_pod();
  [[nodiscard]] std::chrono::seconds grace_period() const;

  // resize.cc
  void keep_granted(Json& fresh_pod);
  void check_resize();
  void actuate_resize();
  [[nodiscard]] bool must_update(const ContainerRun& run) const;
  void save_granted();
  Task<void> write_granted();
  [[nodiscard]] std::string allocation_path() const { return context_.pod_dir(uid_) + "/allocation.json"; }
  Task<void> resize(Json pod_cgroup);
  Task<Status> apply_resize(Json pod_cgroup);
  Task<Status> refuse_too_little_memory(Json pod_cgroup);

  // probing.cc
  void begin_probes(std::size_t index);
  void begin_lasting_probes(std::size_t index);
  Task<void> probe_loop(std::size_t index, std::string id, std::string kind, Json probe, std::shared_ptr<ProbeRun> run);
  void probe_verdict(std::size_t index, const std::string& kind, const Json& probe, bool ok);

  // report.cc
  [[nodiscard]] Json make_wanted() const;
  void report();
  Task<void> write_status();

  // adoption.cc
  void restore_from_api();
  void restore_resize();
  void restore_pod_level(Json& granted) const;

  WorkerContext& context_;
  TaskGroup group_;
  Event woken_;
  Alarm alarm_;
  std::function<void(const std::string&)> gone_;
  api::ObjectPtr object_;
  Json pod_;
  std::string uid_, ns_, name_;

  std::vector<ContainerRun> runs_;
  bool initialized_ = false;
  Stage sandbox_ = Stage::kNone;
  Stage volumes_ = Stage::kNone;
  std::optional<Steady> setup_retry_;
  std::chrono::seconds setup_back_off_{0};
  std::string netns_path_;
  std::string hostname_;
  std::vector<std::string> pod_ips_;
  WallTime start_time_;
  PodObjects objects_;
  ClaimVolumes claims_;  ///< what is known of them
  std::string claim_notice_;
  Steady claim_notice_until_;
  Tokens tokens_;
  bool refreshing_ = false;
  bool objects_stale_ = false;
  bool sandbox_made_ = false;  ///< the runtime has one of this pod, whole or not
  bool sandbox_lost_ = false;  ///< that one has ended by itself
  Steady next_wake_;

  Allocation asked_;    ///< by the spec in the API
  Allocation granted_;  ///< by the node: what pod_ has
  bool saving_ = false, save_again_ = false;
  bool asked_differs_ = false;
  Json pod_cgroup_;  ///< OCI linux.resources that the pod's cgroup has; null: not known
  std::optional<ResizeNotice> resize_pending_, resize_progress_;
  bool resizing_ = false;
  std::optional<Steady> resize_retry_;

  bool terminating_ = false;     ///< deleted, failed as a whole, or shut down: containers are being ended
  bool restarting_all_ = false;  ///< by a rule of a container that has ended
  Steady restart_at_;            ///< and not before
  bool rejected_ = false;        ///< the node did not let it in
  bool finished_ = false;        ///< the work is done: nothing starts any more
  bool removed_ = false;
  bool shut_down_ = false;
  std::optional<std::chrono::seconds> shut_down_grace_;
  Steady terminate_by_;
  std::string fail_reason_, fail_message_;
  bool disrupted_ = false;
  bool tearing_ = false;
  bool torn_down_ = false;
  bool deleting_ = false;
  bool gone_told_ = false;
  std::optional<Steady> teardown_retry_;
  std::optional<Steady> tear_down_by_;  ///< whether or not the end of its containers could be told

  Json wanted_;   ///< the status to be in the API
  Json written_;  ///< the status last written with success
  bool writing_ = false;
  WriteRetry write_retry_;
  std::optional<Steady> write_not_before_;
};

}  // namespace brume::node
