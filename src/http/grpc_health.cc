#include "brume/http/grpc_health.h"

#include <array>
#include <boost/asio/this_coro.hpp>

#include "brume/base/task.h"
#include "deadline.h"
#include "dial.h"
#include "grpc_call.h"

namespace brume::http {

namespace {

constexpr std::size_t kReadSize = 4096;

// To the call's end, or until the stream is closed.
Task<void> carry(GrpcHealthCall& call, SocketStream& stream) {
  std::array<char, kReadSize> buffer;  // NOLINT(*-member-init): filled up to what is used
  bool writable = true;
  while (true) {
    for (std::string out = call.output(); !out.empty(); out = call.output()) {
      // A server that answers and closes at once may not take the rest; its answer still counts.
      if (writable) writable = (co_await stream.write(out)).has_value();
    }
    if (call.done()) co_return;
    auto count = co_await stream.read(buffer);
    if (!count) {
      call.lost(count.error().message);
    } else if (*count == 0) {
      call.lost("EOF");
    } else {
      call.input({buffer.data(), *count});
    }
  }
}

}  // namespace

Task<Result<GrpcHealth>> check_grpc_health(std::string address, std::uint16_t port, std::string service,
                                           std::chrono::milliseconds timeout) {
  if (address.empty()) co_return fail(Code::kInvalid, "no address");
  const Executor executor = co_await boost::asio::this_coro::executor;
  const auto begun = std::chrono::steady_clock::now();
  Url url;
  url.scheme = "http";
  url.host = address;
  url.port = port;
  BRUME_CO_TRY(auto stream, co_await dial(url, address, timeout));
  const auto left =
      timeout - std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begun);
  const std::string host = address.find(':') == std::string::npos ? address : "[" + address + "]";
  GrpcHealthCall call(host + ":" + std::to_string(port), service, left);
  Deadline deadline(executor, [&call, &stream] {
    call.time_out();
    stream->close();
  });
  deadline.set_after(left);
  co_await carry(call, *stream);
  stream->close();
  co_return call.result();
}

}  // namespace brume::http
