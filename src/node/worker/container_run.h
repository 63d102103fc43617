// What a pod worker remembers of one container of its pod, over all its attempts.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "brume/base/json.h"
#include "brume/base/time.h"
#include "brume/runtime/images.h"
#include "pod/pod.h"

namespace brume::node {

struct ProbeRun;

/// One of restartPolicyRules (KEP-5307).
struct RestartRule {
  bool whole_pod = false;  ///< RestartAllContainers (KEP-5532), else Restart
  bool listed = true;      ///< for codes in `codes`, else for all others
  std::vector<std::int64_t> codes;
};

struct ContainerRun {
  enum class State : std::uint8_t { kWaiting, kRunning, kExited };
  /// What is being done to bring the next attempt up.
  enum class Action : std::uint8_t { kNone, kPulling, kStarting };
  /// How far the ending of the running attempt has come.
  enum class Stop : std::uint8_t { kNone, kPreStop, kTerminate, kKill };

  std::string name;
  ContainerKind kind = ContainerKind::kApp;
  bool sidecar = false;
  std::string policy;              ///< Always, OnFailure, Never
  std::vector<RestartRule> rules;  ///< the first that fits an exit code goes before the policy

  State state = State::kWaiting;
  std::string id;    ///< of the current or last attempt
  int attempt = -1;  ///< of `id`; -1: none yet
  std::string image_id;
  std::string image_name;
  std::string asked_image;  ///< `image` of the spec that the current attempt was started by; empty: not known
  bool redefined = false;   ///< the spec has changed since: the attempt is ended, and the next one needs no policy
  Json user;                ///< ContainerUser of the current attempt; null: not known
  Json applied;             ///< ResourceRequirements that the current attempt runs with; null: none yet
  Json effective;           ///< the same with the pod's limits where it has none; null: not known
  WallTime started_at;
  WallTime finished_at;
  int exit_code = 0;
  int signal = 0;
  std::string end_reason;  ///< Completed, Error, OOMKilled, StartError, ContainerStatusUnknown
  std::string end_message;
  Json last_terminated;     ///< lastState.terminated of the attempt before
  std::string wait_reason;  ///< why the next attempt is not there yet; empty: nothing to say
  std::string wait_message;
  bool started = false;
  bool ready = false;
  std::string hooked;  ///< the attempt whose postStart hook runs

  Action action = Action::kNone;
  std::shared_ptr<const runtime::Image> image;                    ///< checked for the next attempt
  std::string image_for;                                          ///< the spec's image that `image` was checked for
  std::optional<std::chrono::steady_clock::time_point> retry_at;  ///< not before (pull back-off, configuration errors)
  std::chrono::seconds back_off{0};                               ///< of restarts
  WallTime back_off_set;
  bool back_off_told = false;  ///< the BackOff event of this wait was written

  Stop stop = Stop::kNone;
  std::chrono::steady_clock::time_point kill_at;
  bool kill_sent = false;
  std::shared_ptr<ProbeRun> probes;

  [[nodiscard]] bool failed() const { return state == State::kExited && exit_code != 0; }
  [[nodiscard]] bool succeeded() const { return state == State::kExited && exit_code == 0; }
  /// Being started, as far as to its postStart hook's end.
  [[nodiscard]] bool starting() const {
    return action != Action::kNone || (state == State::kRunning && !hooked.empty() && hooked == id);
  }
  [[nodiscard]] int restart_count() const { return attempt > 0 ? attempt : 0; }
};

}  // namespace brume::node
