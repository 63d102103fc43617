#include "brume/http/stream.h"

#include <sys/socket.h>

#include <array>

#include "brume/base/task.h"
#include "catch.h"
#include "socket_stream.h"
#include "support.h"

using namespace brume;
using namespace brume::http;
using namespace brume::http::test;
using namespace std::chrono_literals;

namespace {

Task<std::string> read_all(Stream& stream) {
  std::string out;
  std::array<char, 1000> part{};
  while (true) {
    auto count = co_await stream.read(part);
    if (!count) co_return out + "!" + std::to_string(static_cast<int>(count.error().code));
    if (*count == 0) co_return out;
    out.append(part.data(), *count);
  }
}

Task<void> splice_task(Stream* a, Stream* b, bool* done) {
  co_await splice(*a, *b);
  *done = true;
}

}  // namespace

TEST_CASE("splice carries both ways and ends with both") {
  on_test_loop([]() -> Task<void> {
    const Executor executor = co_await boost::asio::this_coro::executor;
    auto [a, b] = stream_pair(executor);
    auto [c, d] = stream_pair(executor);
    TaskGroup group(executor);
    bool done = false;
    group.spawn("splice", splice_task(b.get(), c.get(), &done));
    const std::string big(1 << 20, 'x');
    auto writer = [](Stream* to, std::string bytes) -> Task<void> {
      (void)co_await to->write(bytes);
      (void)co_await to->close_write();
    };
    group.spawn("write", writer(a.get(), big));
    CO_CHECK(co_await read_all(*d) == big);
    CHECK_FALSE(done);
    (void)co_await d->write("back");
    (void)co_await d->close_write();
    CO_CHECK(co_await read_all(*a) == "back");
    CO_CHECK(co_await eventually([&] { return done; }));
    co_await group.stop();
  });
}

TEST_CASE("a cancelled splice closes both and leaves nothing behind") {
  on_test_loop([]() -> Task<void> {
    const Executor executor = co_await boost::asio::this_coro::executor;
    auto [a, b] = stream_pair(executor);
    auto [c, d] = stream_pair(executor);
    TaskGroup group(executor);
    bool done = false;
    group.spawn("splice", splice_task(b.get(), c.get(), &done));
    co_await sleep_for(5ms);
    co_await group.stop();
    CHECK_FALSE(done);
    CO_CHECK(co_await read_all(*a) == "");
    CO_CHECK_FALSE((co_await a->write("x")).has_value());
  });
}

TEST_CASE("a stream that always has bytes leaves the loop to others") {
  on_test_loop([]() -> Task<void> {
    const Executor executor = co_await boost::asio::this_coro::executor;
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0);
    SocketStream near(executor, ends[0]);
    SocketStream far(executor, ends[1]);
    const std::string bytes(100, 'x');
    CO_CHECK(co_await near.write(bytes));
    bool others_ran = false;
    TaskGroup others(executor);
    // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): the group ends within this function
    const auto other = [&others_ran]() -> Task<void> {
      co_await yield_now();  // whoever spawns it may run it up to here
      others_ran = true;
    };
    others.spawn("other", other());
    char byte = 0;
    std::size_t reads = 0;
    for (; reads < bytes.size() && !others_ran; ++reads) {
      if (!co_await far.read(std::span(&byte, 1))) break;
    }
    CHECK(reads < bytes.size());
    co_await others.stop();
  });
}
