// Metrics as autoscalers read them: metrics.k8s.io, custom.metrics.k8s.io, external.metrics.k8s.io.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "brume/base/json_fwd.h"
#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/client/client.h"
#include "horizontal_pod_autoscaler_replicas.h"

namespace brume::controller {

/// Values are in thousandths. Selectors are in the text form of -l. Errors are in the words that conditions show.
class MetricsClient {
 public:
  explicit MetricsClient(client::Client& client) : client_(client) {}

  /// What pods use of a resource; of one container of each where that is named. A pod without the figure is left out.
  Task<Result<PodMetrics>> resource(std::string ns, std::string selector, std::string resource, std::string container);
  /// A custom metric of each pod.
  Task<Result<PodMetrics>> of_pods(std::string ns, std::string selector, std::string metric,
                                   std::string metric_selector);
  /// A custom metric of another object; `described` is a CrossVersionObjectReference.
  Task<Result<std::int64_t>> of_object(std::string ns, Json described, std::string metric, std::string metric_selector);
  /// The values of an external metric.
  Task<Result<std::vector<std::int64_t>>> external(std::string ns, std::string metric, std::string metric_selector);

 private:
  /// The items of a MetricValueList below custom.metrics.k8s.io.
  Task<Result<Json>> custom(std::string path, std::string selector, std::string metric_selector);

  client::Client& client_;
};

}  // namespace brume::controller
