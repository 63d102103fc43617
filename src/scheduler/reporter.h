// PodReporter: writes why a pod has no node into its status.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "brume/base/task.h"
#include "brume/client/informer.h"
#include "types.h"

namespace brume::scheduler {

/// Writes in the background, one write at a time for each pod and the last that was asked for wins; nothing is written
/// that is there already. Owner: the scheduler's loop.
class PodReporter {
 public:
  PodReporter(client::InformerFactory& informers, client::Informer& pods, TaskGroup& tasks)
      : informers_(informers), pods_(pods), tasks_(tasks) {}

  struct Report {
    std::string reason = {};  ///< of condition PodScheduled=False; empty: the condition is left as it is
    std::string message = {};
    std::optional<std::string> nominated_node = {};  ///< what status.nominatedNodeName becomes, "" takes it away
    bool nominated_before = false;  ///< by a write that the informer may not show yet: "" is written in any case
  };
  void report(const PodPtr& pod, Report report);
  /// Reports a nomination, and returns when it is written (or cannot be): a binding that follows clears it. One caller
  /// at a time for each pod.
  Task<void> nominate(PodPtr pod, std::string node);

 private:
  static Task<void> write_all(PodReporter* self, PodPtr pod);
  Task<void> write(PodPtr pod, Report report);

  client::InformerFactory& informers_;
  client::Informer& pods_;
  TaskGroup& tasks_;
  struct Waiting {
    std::optional<Report> next;
    std::shared_ptr<Event> written;  // when somebody waits for that
  };
  std::unordered_map<std::string, Waiting> waiting_;  // by uid, while a write of it is under way
};

}  // namespace brume::scheduler
