// The node's HTTPS endpoint: what the API server asks of a node on behalf of kubectl logs, exec, attach, port-forward
// and top.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/clock.h"
#include "brume/base/json.h"
#include "brume/base/rate_history.h"
#include "brume/base/task.h"
#include "brume/http/server.h"
#include "brume/node/agent.h"
#include "stream/log_reader.h"
#include "stream/remote_command.h"
#include "stream/usage_stats.h"

namespace brume::node {

class PodWorker;

/// Where the endpoint finds pods. Owner: the node loop.
class PodDirectory {
 public:
  virtual ~PodDirectory() = default;
  /// Null when the node has no such pod.
  virtual PodWorker* find(std::string_view ns, std::string_view name) = 0;
  virtual std::vector<Json> all_pods() = 0;
  virtual std::vector<PodWorker*> workers() = 0;
};

/// Only client certificates of the configured CA with an allowed name get in: 401 without one, 403 with another.
/// Owner: the node loop, where its connections run too.
class NodeServer {
 public:
  NodeServer(const NodeOptions& options, runtime::Runtime& runtime, Clock& clock, PodDirectory& pods,
             const Executor& executor);
  ~NodeServer();
  Status listen();
  Task<void> stop();
  [[nodiscard]] std::uint16_t port() const;
  Status set_tls(std::string certificate_pem, std::string private_key_pem, std::string client_ca_pem);
  /// Followers of logs look whether their container still runs.
  void container_ended() { followers_.wake(); }
  /// One request; what tests call.
  Task<void> handle(http::Exchange& exchange);

 private:
  struct Target;
  Task<void> route(http::Exchange& exchange);
  Task<void> logs(http::Exchange& exchange, std::vector<std::string> parts);
  Task<void> command(http::Exchange& exchange, std::vector<std::string> parts, bool exec);
  Task<void> forward(http::Exchange& exchange, std::vector<std::string> parts);
  Task<void> stats(http::Exchange& exchange, std::vector<std::string> parts);
  Task<void> metrics(http::Exchange& exchange, std::vector<std::string> parts);
  Task<NodeStats> read_stats();
  Result<Target> target(const std::vector<std::string>& parts);
  [[nodiscard]] int refused(const http::Request& request) const;

  const NodeOptions& options_;
  runtime::Runtime& runtime_;
  Clock& clock_;
  PodDirectory& pods_;
  Executor executor_;
  LogFollowers followers_;
  RateHistory history_;  ///< of what /stats/summary told
  std::unique_ptr<http::Server> server_;
};

/// The options of a log request's query; kBadRequest names a parameter that is no number or time.
[[nodiscard]] Result<LogOptions> log_options(const http::Query& query, WallTime now);
/// input/output/error (the kubelet's names) or stdin/stdout/stderr, and tty.
[[nodiscard]] StreamOptions stream_options(const http::Query& query);

}  // namespace brume::node
