// Fuzz target: what a server may answer to a call of the gRPC health service.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "grpc_call.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  // At once, and in parts: where the reads end must not matter for what is complete.
  for (const std::size_t step : {std::max<std::size_t>(size, 1), std::size_t{7}}) {
    brume::http::GrpcHealthCall call("127.0.0.1:1", "some.service", std::chrono::seconds(1));
    while (!call.output().empty()) {
    }
    for (std::size_t at = 0; at < size && !call.done(); at += step) {
      call.input(std::string_view(bytes).substr(at, step));
      while (!call.output().empty()) {
      }
    }
    if (!call.done()) call.lost("EOF");
    while (!call.output().empty()) {
    }
    const auto result = call.result();
    if (result && result->serving_status && result->grpc_status != 0) std::abort();
    if (result && result->grpc_message.size() > 2048) std::abort();
  }
  return 0;
}
