// A client of the gRPC health service, for probes.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"

namespace brume::http {

/// How a call of grpc.health.v1.Health/Check ended once there was an HTTP/2 connection.
struct GrpcHealth {
  /// Codes of gRPC's status.md that a caller looks at.
  static constexpr int kDeadlineExceeded = 4;
  static constexpr int kUnimplemented = 12;
  /// HealthCheckResponse.ServingStatus.
  static constexpr int kServing = 1;

  int grpc_status = 0;
  std::string grpc_message;           ///< decoded, UTF-8, at most a kilobyte
  std::optional<int> serving_status;  ///< when grpc_status is 0
};

/// Asks the server at the IP address `address` for the health of `service` ("": of the server as a whole), over HTTP/2
/// without TLS. All in all it takes no longer than `timeout`, whatever the server does. Fails when there is no HTTP/2
/// connection: kTimeout when the server did not show itself in time, else kServiceUnavailable, kIo, or kInvalid for
/// what is not an address. What happens later is a GrpcHealth, with the code that grpc-go has for it.
Task<Result<GrpcHealth>> check_grpc_health(std::string address, std::uint16_t port, std::string service,
                                           std::chrono::milliseconds timeout);

/// "Unavailable", ...; "Code(99)" for one that gRPC does not know.
[[nodiscard]] std::string grpc_code_name(int code);
/// "SERVING", ...; the number for one that is not of the protocol.
[[nodiscard]] std::string grpc_serving_status_name(int status);

}  // namespace brume::http
