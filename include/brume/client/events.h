// EventRecorder: core/v1 Events about objects, with repeats folded into a count.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "brume/base/clock.h"
#include "brume/base/task_fwd.h"
#include "brume/client/client.h"
#include "brume/client/helpers.h"

namespace brume::client {

/// Writes events in the background, in order. A repeat (same object, reason and message) raises the count of the event
/// that is there; more than ten messages of one reason about one object within ten minutes are folded into one; per
/// object 25 events may come at once and one every five minutes after that. These are client-go's EventCorrelator's
/// values. At most 1000 events wait to be written; more are dropped. Owner: one loop.
class EventRecorder {
 public:
  /// `component` is who reports: deployment-controller, default-scheduler, kubelet; `host` the node, for the kubelet.
  EventRecorder(Client& client, const Executor& executor, Clock& clock, std::string component, std::string host = {});
  ~EventRecorder();
  EventRecorder(const EventRecorder&) = delete;
  EventRecorder& operator=(const EventRecorder&) = delete;

  void normal(const api::Object& about, std::string_view reason, std::string message);
  void warning(const api::Object& about, std::string_view reason, std::string message);
  void event(const ObjectReference& about, bool warning, std::string_view reason, std::string message);

  /// Waits until all that was recorded is written (tests and clean stops).
  Task<void> flush();
  Task<void> stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace brume::client
