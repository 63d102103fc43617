// Probe and lifecycle handlers: exec in the container, HTTP, TCP and gRPC to the pod, sleep.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "brume/base/clock.h"
#include "brume/base/json.h"
#include "brume/base/result.h"
#include "brume/base/task.h"
#include "brume/runtime/runtime.h"

namespace brume::node {

struct HandlerRequest {
  std::string sandbox_id;
  std::string container_id;
  Json handler;    ///< exec, httpGet, tcpSocket, grpc or sleep member
  Json container;  ///< its spec, for named ports
  std::string pod_ip;
  std::chrono::milliseconds timeout{1000};  ///< zero: none (hooks are bounded by the grace)
  bool probe = true;
};

struct HandlerResult {
  bool ok = false;
  std::string output;    ///< what the handler said: for events
  bool warning = false;  ///< it is well, and `output` is to be told all the same
};

/// Runs handlers. A seam: tests give answers of their own.
class HandlerRunner {
 public:
  virtual ~HandlerRunner() = default;
  virtual Task<HandlerResult> run(HandlerRequest request) = 0;
  virtual Task<void> stop() = 0;
};

[[nodiscard]] std::unique_ptr<HandlerRunner> make_handler_runner(runtime::Runtime& runtime, Clock& clock,
                                                                 const Executor& executor);

/// A port as a number, or as the name of one of the container's ports; 0 when there is no such port.
[[nodiscard]] int resolve_port(const Json& port, const Json& container);

}  // namespace brume::node
