#include "brume/base/task.h"

#include <atomic>
#include <memory>
#include <thread>

#include "catch.h"

using namespace brume;
using namespace std::chrono_literals;

TEST_CASE("stop() cancels and awaits every task") {
  Loop loop("test");
  loop.start();
  auto group = std::make_unique<TaskGroup>(loop.executor());
  int ended = 0;
  loop.run_and_wait([&]() -> Task<void> {
    auto body = [](int* count) -> Task<void> {
      struct AtEnd {
        int* count;
        ~AtEnd() { ++*count; }
      } at_end{count};
      co_await sleep_for(1h);
    };
    group->spawn("a", body(&ended));
    group->spawn("b", body(&ended));
    co_await yield_now();
    co_await group->stop();
    CHECK(ended == 2);
    group.reset();
  });
  loop.stop();
}

TEST_CASE("run_blocking leaves the loop and comes back with the value") {
  Loop loop("test");
  loop.start();
  loop.run_and_wait([]() -> Task<void> {
    const auto here = std::this_thread::get_id();
    const auto there = co_await run_blocking([] { return std::this_thread::get_id(); });
    CHECK(here != there);
    CHECK(here == std::this_thread::get_id());
  });
  loop.stop();
}

TEST_CASE("on_loop runs on the other loop") {
  Loop one("one");
  Loop two("two");
  one.start();
  two.start();
  one.run_and_wait([&]() -> Task<void> {
    const auto here = std::this_thread::get_id();
    std::function<Task<std::thread::id>()> body = []() -> Task<std::thread::id> {
      co_return std::this_thread::get_id();
    };
    const auto there = co_await on_loop<std::thread::id>(two.executor(), body);
    CHECK(here != there);
  });
  one.stop();
  two.stop();
}

TEST_CASE("an Event keeps a notification that came first") {
  Loop loop("test");
  loop.start();
  loop.run_and_wait([&]() -> Task<void> {
    Event event(loop.executor());
    event.notify();
    co_await event.wait();
    const bool woken = co_await event.wait_for(5ms);
    CHECK_FALSE(woken);
  });
  loop.stop();
}

TEST_CASE("a task that never waits may cancel its own group") {
  Loop loop("test");
  loop.start();
  loop.run_and_wait([&]() -> Task<void> {
    TaskGroup group(co_await boost::asio::this_coro::executor);
    const auto cancels = [](TaskGroup* own) -> Task<void> {
      own->cancel();
      co_return;
    };
    group.spawn("cancels", cancels(&group));
    co_await group.stop();
    CHECK(group.size() == 0);
  });
  loop.stop();
}

TEST_CASE("a PostBatch runs all on each loop in order; waiting tasks resume on their own") {
  Loop first("first"), second("second");
  first.start();
  second.start();
  std::vector<int> seen[2];
  std::thread::id ids[2];
  PostBatch batch;
  for (int i = 0; i < 6; ++i) {
    batch.add((i % 2 == 0 ? first : second).executor(), [&, i] {
      seen[i % 2].push_back(i);
      ids[i % 2] = std::this_thread::get_id();
    });
  }
  batch.post();
  batch.post();  // empty again
  std::atomic<int> resumed = 0;
  const auto wait = [&](int which) -> Task<void> {
    const auto here = std::this_thread::get_id();
    co_await await_resume([](const Executor& executor, PostBatch::Function resume) {
      std::thread([executor, resume = std::move(resume)]() mutable {
        PostBatch later;
        later.add(executor, std::move(resume));
        later.post();
      }).detach();
    });
    CHECK(std::this_thread::get_id() == here);
    CHECK(ids[which] == here);
    ++resumed;
  };
  first.run_and_wait([&] { return wait(0); });
  second.run_and_wait([&] { return wait(1); });
  CHECK(resumed == 2);
  CHECK(seen[0] == std::vector{0, 2, 4});
  CHECK(seen[1] == std::vector{1, 3, 5});
  first.stop();
  second.stop();
}
