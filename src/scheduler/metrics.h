// The scheduler's metrics, by kube-scheduler's names.
#pragma once

#include "brume/base/metrics.h"

namespace brume::scheduler {

/// Owner: the scheduler's loop; the values may be read from any thread.
struct Metrics {
  metrics::Family<metrics::Counter>& attempts = metrics::registry().counters(
      "scheduler_schedule_attempts_total",
      "Attempts to schedule pods, by result: scheduled, unschedulable (no node fits) or error.", {"result", "profile"});
  metrics::Family<metrics::Gauge>& pending = metrics::registry().gauges(
      "scheduler_pending_pods",
      "Pods that wait, by queue: active (ready), backoff, unschedulable (until something changes) or gated.",
      {"queue"});
  metrics::Gauge& active = pending.with({"active"});
  metrics::Gauge& backoff = pending.with({"backoff"});
  metrics::Gauge& unschedulable = pending.with({"unschedulable"});
  metrics::Gauge& gated = pending.with({"gated"});
};

}  // namespace brume::scheduler
