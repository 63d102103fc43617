// FakeClock: time that stands still until a test moves it.
#pragma once

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "brume/base/clock.h"
#include "brume/base/task.h"
#include "waiting.h"

namespace brume::test {

/// A Clock whose sleepers wake only by advance(). It starts at 2026-01-01T00:00:00Z. Thread-safe.
class FakeClock : public Clock {
 public:
  [[nodiscard]] WallTime now() const override {
    std::lock_guard lock(mutex_);
    return wall_;
  }
  [[nodiscard]] std::chrono::steady_clock::time_point steady() const override {
    std::lock_guard lock(mutex_);
    return steady_;
  }

  Task<void> sleep(std::chrono::steady_clock::duration duration) override {
    auto sleeper = std::make_shared<Sleeper>(co_await boost::asio::this_coro::executor);
    {
      std::lock_guard lock(mutex_);
      sleeper->deadline = steady_ + duration;
      std::erase_if(sleepers_, [](const std::weak_ptr<Sleeper>& s) { return s.expired(); });
      sleepers_.push_back(sleeper);
    }
    while (steady() < sleeper->deadline) co_await sleeper->event.wait();
  }

  /// Moves both clocks on and wakes every sleeper whose time has come.
  void advance(std::chrono::steady_clock::duration by) {
    std::lock_guard lock(mutex_);
    steady_ += by;
    wall_ += std::chrono::duration_cast<WallTime::duration>(by);
    for (auto& weak : sleepers_) {
      auto sleeper = weak.lock();
      if (!sleeper || sleeper->deadline > steady_) continue;
      boost::asio::post(sleeper->executor, [sleeper] { sleeper->event.notify(); });
    }
  }

  /// Sets the wall clock on or back, as a person or NTP does; nobody wakes.
  void set_wall(std::chrono::steady_clock::duration by) {
    std::lock_guard lock(mutex_);
    wall_ += std::chrono::duration_cast<WallTime::duration>(by);
  }

  /// How many tasks sleep now.
  [[nodiscard]] std::size_t sleepers() const {
    std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::count_if(sleepers_.begin(), sleepers_.end(), [this](const auto& weak) {
      auto sleeper = weak.lock();
      return sleeper && sleeper->deadline > steady_;
    }));
  }

 private:
  struct Sleeper {
    explicit Sleeper(Executor ex) : executor(std::move(ex)), event(executor) {}
    Executor executor;
    Event event;
    std::chrono::steady_clock::time_point deadline;
  };
  mutable std::mutex mutex_;
  WallTime wall_ = WallTime(std::chrono::seconds(1767225600));
  std::chrono::steady_clock::time_point steady_ = std::chrono::steady_clock::time_point(std::chrono::hours(1));
  std::vector<std::weak_ptr<Sleeper>> sleepers_;
};

}  // namespace brume::test
