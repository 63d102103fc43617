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
  };
  void report(const PodPtr& pod, Report report);

 private:
  static Task<void> write_all(PodReporter* self, PodPtr pod);
  Task<void> write(PodPtr pod, Report report);

  client::InformerFactory& informers_;
  client::Informer& pods_;
  TaskGroup& tasks_;
  std::unordered_map<std::string, std::optional<Report>> waiting_;  // by uid, while a write of it is under way
};

}  // namespace brume::scheduler
