#include "brume/client/queue.h"

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "brume/base/log.h"
#include "brume/base/task.h"

namespace brume::client {

using SteadyTime = std::chrono::steady_clock::time_point;

struct WorkQueue::State {
  State(std::string n, const Executor& executor, Clock& c, WorkQueueOptions o)
      : name(std::move(n)), clock(c), options(o), tasks(executor) {}

  std::string name;
  Clock& clock;
  WorkQueueOptions options;
  TaskGroup tasks;
  Reconcile reconcile;
  bool started = false;

  std::deque<std::string> ready;
  std::unordered_set<std::string> dirty;    // in `ready`, or to be put there when its reconcile ends
  std::unordered_set<std::string> running;  // being reconciled
  std::unordered_map<std::string, int> failures;

  using Delayed = std::multimap<SteadyTime, std::string>;
  Delayed delayed;
  std::unordered_map<std::string, Delayed::iterator> due;  // each delayed key's entry
  std::set<SteadyTime> sleepers;                           // when each wakes

  void add(std::string key);
  void add_at(std::string key, SteadyTime at);
  void pump();
  void arm();
  void release_due();
  std::chrono::milliseconds backoff(const std::string& key);
  static Task<void> sleep(State* self, SteadyTime until);
  static Task<void> work(State* self, std::string key);
};

void WorkQueue::State::add(std::string key) {
  if (tasks.stopping() || !dirty.insert(key).second) return;
  if (running.contains(key)) return;
  ready.push_back(std::move(key));
  pump();
}

void WorkQueue::State::pump() {
  while (started && !tasks.stopping() && running.size() < options.workers && !ready.empty()) {
    std::string key = std::move(ready.front());
    ready.pop_front();
    dirty.erase(key);
    running.insert(key);
    tasks.spawn("reconcile", work(this, std::move(key)));
  }
}

Task<void> WorkQueue::State::work(State* self, std::string key) {
  // Cancellation leaves by exception: the key must not stay marked as running then.
  struct Ended {
    State* self;
    const std::string& key;
    ~Ended() { self->running.erase(key); }
  };
  {
    Ended ended{self, key};
    const auto done = co_await self->reconcile(key);
    if (done) {
      self->failures.erase(key);
    } else {
      const auto level = done.error().code == Code::kConflict ? log::Level::kDebug : log::Level::kWarn;
      log::write(level, "reconcile failed, will be tried again",
                 {{"queue", self->name}, {"key", key}, {"error", done.error().message}});
      self->add_at(key, self->clock.steady() + self->backoff(key));
    }
  }
  if (self->dirty.contains(key)) self->ready.push_back(key);
  self->pump();
}

std::chrono::milliseconds WorkQueue::State::backoff(const std::string& key) {
  const int n = std::min(failures[key]++, 40);
  const auto delay = options.base_delay * (std::int64_t{1} << std::min(n, 30));
  return std::min<std::chrono::milliseconds>(delay, options.max_delay);
}

void WorkQueue::State::add_at(std::string key, SteadyTime at) {
  if (tasks.stopping()) return;
  if (const auto have = due.find(key); have != due.end()) {
    if (have->second->first <= at) return;
    delayed.erase(have->second);
    have->second = delayed.emplace(at, std::move(key));
  } else {
    auto entry = delayed.emplace(at, key);
    due.emplace(std::move(key), entry);
  }
  arm();
}

// A sleeper waits for the earliest key. Those of later keys go on sleeping, and are there when their turn comes.
void WorkQueue::State::arm() {
  if (!started || delayed.empty()) return;
  const auto earliest = delayed.begin()->first;
  if (!sleepers.empty() && *sleepers.begin() <= earliest) return;
  sleepers.insert(earliest);
  tasks.spawn("queue-delay", sleep(this, earliest));
}

Task<void> WorkQueue::State::sleep(State* self, SteadyTime until) {
  const auto now = self->clock.steady();
  if (until > now) co_await self->clock.sleep(until - now);
  self->sleepers.erase(until);
  self->release_due();
  self->arm();
}

void WorkQueue::State::release_due() {
  const auto now = clock.steady();
  while (!delayed.empty() && delayed.begin()->first <= now) {
    auto node = delayed.extract(delayed.begin());
    due.erase(node.mapped());
    add(std::move(node.mapped()));
  }
}

WorkQueue::WorkQueue(std::string name, const Executor& executor, Clock& clock, WorkQueueOptions options)
    : state_(std::make_unique<State>(std::move(name), executor, clock, options)) {}
WorkQueue::~WorkQueue() = default;

void WorkQueue::start(Reconcile reconcile) {
  state_->reconcile = std::move(reconcile);
  state_->started = true;
  state_->arm();
  state_->pump();
}

Task<void> WorkQueue::stop() {
  auto* state = state_.get();
  state->ready.clear();
  state->delayed.clear();
  state->due.clear();
  co_await state->tasks.stop();
}

void WorkQueue::add(std::string key) { state_->add(std::move(key)); }

void WorkQueue::add_after(std::string key, std::chrono::steady_clock::duration delay) {
  if (delay <= std::chrono::steady_clock::duration::zero()) return state_->add(std::move(key));
  state_->add_at(std::move(key), state_->clock.steady() + delay);
}

void WorkQueue::add_rate_limited(std::string key) {
  const auto delay = state_->backoff(key);
  state_->add_at(std::move(key), state_->clock.steady() + delay);
}

void WorkQueue::forget(const std::string& key) { state_->failures.erase(key); }
std::size_t WorkQueue::waiting() const { return state_->ready.size(); }
std::size_t WorkQueue::delayed() const { return state_->due.size(); }
std::size_t WorkQueue::running() const { return state_->running.size(); }

int WorkQueue::failures(const std::string& key) const {
  auto it = state_->failures.find(key);
  return it == state_->failures.end() ? 0 : it->second;
}

}  // namespace brume::client
