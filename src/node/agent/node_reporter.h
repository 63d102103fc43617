// Keeps the Node object and its lease: registration, status when it changes, renewal every ten seconds.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "agent/machine.h"
#include "brume/base/clock.h"
#include "brume/base/json.h"
#include "brume/base/task.h"
#include "brume/client/client.h"
#include "brume/client/events.h"
#include "brume/node/agent.h"
#include "worker/write_retry.h"

namespace brume::node {

/// Owner: the node loop.
class NodeReporter {
 public:
  NodeReporter(const NodeOptions& options, NodeParts parts, client::EventRecorder& events, const Executor& executor);

  void set_machine(Machine machine) { machine_ = std::move(machine); }
  void set_port(std::uint16_t port) { port_ = port; }
  /// Creates the Node or brings its labels up to date, and writes its first status. Where the API shows the Node but
  /// cannot write (kServiceUnavailable), that is left to start()'s loop.
  Task<Status> register_node();
  /// Starts renewing and reporting. `tick` runs at every renewal with what the disk looks like.
  void start(std::function<void(const Pressure&)> tick);
  /// What the node's conditions say: a pressure that is over counts for five minutes more, so that nothing is sent here
  /// at once to bring it back (the kubelet's evictionPressureTransitionPeriod).
  [[nodiscard]] const Pressure& pressure() const { return pressure_; }
  /// The Node as a watch has it. The control plane calls a node Unknown that was silent for long (its machine slept, or
  /// the way to it was cut): it has to hear that it is back. And others add to its capacity, or change it: what can be
  /// allocated follows.
  void heard(const api::Object& node);
  /// Images or pods changed: the status may have.
  void changed() { changed_.notify(); }
  Task<void> stop() { co_await group_.stop(); }

 private:
  Task<void> lease_loop();
  Task<void> status_loop();
  Task<Status> bring_up_to_date();
  Task<Status> renew_lease();
  Task<Status> write_status();
  void tell_limitations();
  void take(const Pressure& now);
  bool take(const api::Object& node);

  const NodeOptions& options_;
  NodeParts parts_;
  client::EventRecorder& events_;
  TaskGroup group_;
  Event changed_;
  Machine machine_;
  Pressure pressure_;
  std::chrono::steady_clock::time_point memory_until_, disk_until_, pid_until_;
  std::function<void(const Pressure&)> tick_;
  std::uint16_t port_ = 0;
  std::string node_uid_;
  bool up_to_date_ = false;        ///< labels and a first status are written, and nobody deleted the Node since
  Json api_status_;                ///< as the API last said
  std::int64_t api_revision_ = 0;  ///< when that was
  Json written_;
  std::chrono::steady_clock::time_point written_at_;
  api::ObjectPtr lease_;
  WriteRetry lease_retry_, status_retry_;
};

}  // namespace brume::node
