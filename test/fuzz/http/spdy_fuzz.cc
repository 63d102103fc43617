// Fuzz target: bytes of a SPDY client, and header blocks on their own.
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <string>

#include "brume/base/task.h"
#include "brume/http/spdy.h"
#include "spdy_frame.h"

using namespace brume;
using namespace brume::http;

namespace {

Task<void> read_stream(std::shared_ptr<SpdyStream> stream) {
  char buffer[256];
  while (true) {
    auto count = co_await stream->read(buffer);
    if (!count || *count == 0) co_return;
  }
}

Task<void> run_session(std::string bytes, TaskGroup* group) {
  const Executor executor = co_await boost::asio::this_coro::executor;
  auto [near, far] = stream_pair(executor);
  auto session = SpdySession::serve(std::move(near), executor);
  (void)co_await far->write(bytes);
  (void)co_await far->close_write();
  while (true) {
    auto stream = co_await session->accept();
    if (!stream) break;
    group->spawn("read", read_stream(*stream));
  }
  far->close();
  co_await session->stop();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  (void)spdy::HeaderReader().read(bytes);
  boost::asio::io_context context;
  TaskGroup group(context.get_executor());
  group.spawn("session", run_session(bytes, &group));
  context.run();
  return 0;
}
