#include "brume/client/queue.h"

#include <map>
#include <string>
#include <vector>

#include "brume/base/task.h"
#include "catch.h"
#include "support/fake_clock.h"

using namespace brume;
using namespace std::chrono_literals;
using test::settle;

namespace {

/// A queue on a loop of its own whose reconcile does what a test says.
struct Bench {
  explicit Bench(std::size_t workers) : loop("test") {
    loop.start();
    queue =
        std::make_unique<client::WorkQueue>("t", loop.executor(), clock, client::WorkQueueOptions{.workers = workers});
  }
  ~Bench() {
    loop.run_and_wait([this]() -> Task<void> {
      co_await queue->stop();
      queue.reset();
    });
    loop.stop();
  }
  Task<Status> reconcile(std::string key) {
    done.push_back(key);
    now_running[key]++;
    most_running = std::max(most_running, ++running);
    overlap = overlap || now_running[key] > 1;
    co_await yield_now();
    if (hold) co_await hold->wait();
    --running;
    now_running[key]--;
    if (fails_left > 0 && fails_left-- > 0) co_return fail(Code::kInternal, "told to fail");
    co_return Status{};
  }
  void start() {
    queue->start([this](std::string key) { return reconcile(std::move(key)); });
  }

  Loop loop;
  test::FakeClock clock;
  std::unique_ptr<client::WorkQueue> queue;
  std::unique_ptr<Event> hold;
  std::vector<std::string> done;
  std::map<std::string, int> now_running;
  int running = 0;
  int most_running = 0;
  int fails_left = 0;
  bool overlap = false;
};

}  // namespace

TEST_CASE("a key added many times is reconciled once, and once more when added meanwhile") {
  Bench b(4);
  b.loop.run_and_wait([&]() -> Task<void> {
    b.queue->add("a");
    b.queue->add("a");
    b.queue->add("b");
    CHECK(b.queue->waiting() == 2);
    b.hold = std::make_unique<Event>(b.loop.executor());
    b.start();
    co_await settle(20);
    CHECK(b.done == std::vector<std::string>{"a", "b"});
    b.queue->add("a");
    b.queue->add("a");
    co_await settle(20);
    CHECK(b.done.size() == 2);  // not while it runs
    for (int i = 0; i < 5; ++i) {
      b.hold->notify();
      co_await settle(20);
    }
    CHECK(b.done == std::vector<std::string>{"a", "b", "a"});
    CHECK_FALSE(b.overlap);
    CHECK(b.queue->idle());
    b.hold.reset();
  });
}

TEST_CASE("no more workers than asked for, and nothing is left over") {
  Bench b(3);
  b.loop.run_and_wait([&]() -> Task<void> {
    b.start();
    for (int i = 0; i < 50; ++i) b.queue->add("k" + std::to_string(i));
    co_await settle();
    CHECK(b.done.size() == 50);
    CHECK(b.most_running == 3);
  });
}

TEST_CASE("failures back off from 5 ms doubling, and success forgets them") {
  Bench b(1);
  b.loop.run_and_wait([&]() -> Task<void> {
    b.fails_left = 3;
    b.start();
    b.queue->add("a");
    co_await settle(30);
    CHECK(b.done.size() == 1);
    std::vector<std::chrono::milliseconds> steps = {5ms, 10ms, 20ms};
    for (std::size_t i = 0; i < steps.size(); ++i) {
      b.clock.advance(steps[i] - 1ms);
      co_await settle(30);
      CHECK(b.done.size() == i + 1);
      b.clock.advance(1ms);
      co_await settle(30);
      CHECK(b.done.size() == i + 2);
    }
    CHECK(b.queue->failures("a") == 0);
    CHECK(b.queue->idle());
    b.fails_left = 1000;
    b.queue->add("b");
    co_await settle(30);
    for (int i = 0; i < 40; ++i) {
      b.clock.advance(1000s);
      co_await settle(30);
    }
    CHECK(b.done.size() == 4 + 41);  // never longer than 1000 s
  });
}

TEST_CASE("of several delays for a key the earliest counts") {
  Bench b(1);
  b.loop.run_and_wait([&]() -> Task<void> {
    b.start();
    b.queue->add_after("a", 10s);
    b.queue->add_after("a", 3s);
    b.queue->add_after("a", 20s);
    b.queue->add_after("b", 5s);
    co_await settle(30);
    b.clock.advance(3s);
    co_await settle(30);
    CHECK(b.done == std::vector<std::string>{"a"});
    b.clock.advance(2s);
    co_await settle(30);
    CHECK(b.done == std::vector<std::string>{"a", "b"});
    b.clock.advance(60s);
    co_await settle(30);
    CHECK(b.done.size() == 2);
    CHECK(b.queue->idle());
    CHECK(b.clock.sleepers() == 0);
  });
}

TEST_CASE("a key that is due in a day costs one sleeper, however many come before it") {
  Bench b(1);
  b.loop.run_and_wait([&]() -> Task<void> {
    b.start();
    b.queue->add_after("far", 24h);
    for (int i = 0; i < 100; ++i) {
      b.queue->add_after("near", 20ms);
      b.queue->add_after("far", 24h);
      co_await settle(10);
      b.clock.advance(20ms);
      co_await settle(10);
    }
    CHECK(b.done.size() == 100);
    CHECK(b.clock.sleepers() <= 2);
    b.clock.advance(24h);
    co_await settle(30);
    CHECK(b.done.size() == 101);
    CHECK(b.queue->idle());
  });
}

TEST_CASE("stop() ends a reconcile that waits") {
  auto b = std::make_unique<Bench>(1);
  b->loop.run_and_wait([&]() -> Task<void> {
    b->hold = std::make_unique<Event>(b->loop.executor());
    b->start();
    b->queue->add("a");
    b->queue->add_after("b", 1h);
    co_await settle(30);
    CHECK(b->queue->running() == 1);
    co_await b->queue->stop();
    CHECK(b->queue->running() == 0);
    b->queue->add("c");
    CHECK(b->queue->waiting() == 0);
  });
  b.reset();
}
