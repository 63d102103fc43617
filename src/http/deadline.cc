#include "deadline.h"

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <utility>

namespace brume::http {

namespace asio = boost::asio;
using SteadyTime = std::chrono::steady_clock::time_point;

struct Deadline::State {
  State(const Executor& executor, std::function<void()> fn) : timer(executor), on_expire(std::move(fn)) {}
  asio::steady_timer timer;
  std::function<void()> on_expire;
  SteadyTime at = SteadyTime::max();
  SteadyTime armed_for = SteadyTime::max();
  bool armed = false;
  bool alive = true;
  bool expired = false;
};

Deadline::Deadline(const Executor& executor, std::function<void()> on_expire)
    : state_(std::make_shared<State>(executor, std::move(on_expire))) {}

Deadline::~Deadline() {
  state_->alive = false;
  state_->timer.cancel();
}

void Deadline::arm(const std::shared_ptr<State>& state) {
  state->armed = true;
  state->armed_for = state->at;
  state->timer.expires_at(state->at);
  state->timer.async_wait([state](const boost::system::error_code& ec) {
    if (ec || !state->alive) return;
    state->armed = false;
    if (state->at == SteadyTime::max()) return;
    if (std::chrono::steady_clock::now() < state->at) {
      arm(state);
      return;
    }
    state->at = SteadyTime::max();
    state->expired = true;
    state->on_expire();
  });
}

void Deadline::set_after(std::chrono::steady_clock::duration duration) {
  state_->expired = false;
  state_->at = std::chrono::steady_clock::now() + duration;
  if (!state_->armed || state_->armed_for > state_->at) arm(state_);
}

void Deadline::clear() { state_->at = SteadyTime::max(); }

bool Deadline::expired() const { return state_->expired; }

FarewellDeadline::FarewellDeadline(const Executor& executor, const Farewell& farewell, std::function<void()> on_expire)
    : silence_(farewell.silence),
      end_(std::chrono::steady_clock::now() + farewell.whole),
      deadline_(executor, std::move(on_expire)) {
  hear();
}

void FarewellDeadline::hear() { deadline_.set_after(std::min(silence_, end_ - std::chrono::steady_clock::now())); }

Condition::Condition(const Executor& executor)
    : timer_(std::make_shared<asio::steady_timer>(executor, SteadyTime::max())) {}
Condition::~Condition() { timer_->cancel(); }

void Condition::notify_all() { timer_->cancel(); }

Task<void> Condition::wait() {
  auto timer = timer_;
  boost::system::error_code ec;
  co_await timer->async_wait(asio::redirect_error(asio::use_awaitable, ec));
}

Task<void> drain(TaskGroup& group) {
  co_await asio::this_coro::throw_if_cancelled(false);
  group.cancel();
  asio::steady_timer timer(co_await asio::this_coro::executor);
  for (int round = 0; group.size() > 0; ++round) {
    // Cancelled tasks end within a turn or two of the loop; the timer is for those that wait for a blocking thread.
    timer.expires_after(round < 8 ? std::chrono::milliseconds(0) : std::chrono::milliseconds(2));
    boost::system::error_code ec;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  }
  co_await asio::this_coro::throw_if_cancelled(true);
}

namespace {

// The timer is kept by a raw pointer on purpose: should the loop be torn down before the group is empty, the owner
// leaks instead of being deleted under running tasks.
void retire_step(asio::steady_timer* timer, TaskGroup* group, std::function<void()> delete_owner) {
  timer->expires_after(std::chrono::milliseconds(1));
  timer->async_wait([timer, group, delete_owner = std::move(delete_owner)](const boost::system::error_code&) {
    if (group->size() > 0) {
      retire_step(timer, group, delete_owner);
      return;
    }
    delete_owner();
    delete timer;
  });
}

}  // namespace

void retire(TaskGroup& group, std::function<void()> delete_owner) {
  group.cancel();
  retire_step(new asio::steady_timer(group.executor()), &group, std::move(delete_owner));
}

}  // namespace brume::http
