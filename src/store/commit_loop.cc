// The store thread: folds waiting writes into one transaction, publishes what it did, then answers.
#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <limits>
#include <list>
#include <map>
#include <mutex>
#include <thread>

#include "brume/base/log.h"
#include "brume/base/task.h"
#include "brume/store/store.h"
#include "store/backend.h"

namespace brume::store {

namespace {

/// How far ahead revisions may be given out before the ceiling is written again. At one volatile write in ten seconds
/// (a node's lease) a ceiling lasts 115 days, so an idle store writes nothing.
constexpr Revision kCeilingStep = 1'000'000;
/// Compaction drops this many events at a time, a few milliseconds of work, when so many are there beyond what is kept.
constexpr Revision kCompactStep = 1'000;
/// It waits for a moment without writes, so that a burst does not pay for it, ...
constexpr auto kQuiet = std::chrono::milliseconds(50);
/// ... until this many events are too much.
constexpr Revision kMaxBacklog = 10'000;

using Done = std::move_only_function<void()>;

struct PendingWrite {
  Write write;
  Result<Revision>* answer;
  Executor executor;  ///< the caller's loop, where `resume` is to be called
  Done resume;
};

struct Subscriber {
  std::string prefix;
  Revision after;  ///< events up to it were delivered
  Sink sink;
  Status status;  ///< why history could not be read; it gets no more events then
};

class CommitLoop final : public Store {
 public:
  CommitLoop(std::unique_ptr<Backend> backend, CommitLoopOptions options)
      : backend_(std::move(backend)), options_(options) {}

  ~CommitLoop() override { join(); }

  Status open();

  Task<Result<Revision>> write(Write write) override;
  Task<Result<Range>> range(std::string prefix, std::string from, std::size_t limit) override;
  Result<std::unique_ptr<Watch>> watch(std::string prefix, Revision after, Sink sink) override;
  Task<Status> compact(Revision revision) override;
  Task<Status> close() override;

  Revision revision() const override { return acknowledged_; }
  Revision compacted_revision() const override { return compacted_; }
  Revision start_revision() const override { return start_revision_; }
  Health health() const override {
    const std::lock_guard lock(health_mutex_);
    return health_;
  }

  void unsubscribe(std::list<Subscriber>::iterator it) {
    const std::lock_guard lock(sinks_mutex_);
    subscribers_.erase(it);
  }
  Status status_of(std::list<Subscriber>::iterator it) {
    const std::lock_guard lock(sinks_mutex_);
    return it->status;
  }

 private:
  void run();
  void join();
  bool enqueue(Done job);
  void commit_batch(std::vector<PendingWrite> batch);
  Result<Event> apply(const Write& write, Revision revision);
  Result<std::optional<Entry>> find(const std::string& key, bool with_value);
  void apply_volatile(const Event& event);
  Status ensure_transaction();
  Status raise_ceiling(Revision needed);
  Status finish_transaction(Revision newest);
  Status compact_now(Revision upto);
  [[nodiscard]] bool compaction_due() const {
    return written_ >= compact_at_ && (!history_ || *history_ >= options_.keep_revisions + kCompactStep);
  }
  [[nodiscard]] bool compaction_overdue() const {
    return written_ >= compact_at_ && (history_ ? *history_ - options_.keep_revisions : written_) >= kMaxBacklog;
  }
  void compact_step();
  void publish(std::span<const Event> events);
  void catch_up(Subscriber& subscriber, Revision upto);
  void catch_up_all(Revision compacted);
  void set_health(const Status& status);
  Status claim();
  Status close_now();

  std::unique_ptr<Backend> backend_;
  const CommitLoopOptions options_;

  // The queue, shared with callers.
  std::mutex queue_mutex_;
  std::condition_variable ready_;
  std::deque<PendingWrite> writes_;
  std::deque<Done> jobs_;
  bool stopping_ = false;
  std::thread thread_;

  // The store thread's own.
  BackendState state_;
  bool in_transaction_ = false;
  Revision applied_ = 0;  ///< durable events of this batch
  std::map<std::string, Entry> volatile_;
  /// Volatile entries as they were before this batch, for its rollback; nullopt: there was none.
  std::map<std::string, std::optional<Entry>> volatile_undo_;
  /// Events in the backend's history after the compacted revision; nullopt: to be counted.
  std::optional<Revision> history_;
  Revision written_ = 0;     ///< durable events since the start
  Revision compact_at_ = 1;  ///< compaction is thought of from so many on: never in a store that nobody writes to

  std::mutex sinks_mutex_;  ///< held when compacted_ grows, so that a watch that was let in keeps its history
  std::list<Subscriber> subscribers_;

  std::atomic<Revision> acknowledged_{0};
  std::atomic<Revision> compacted_{0};
  Revision start_revision_ = 0;
  mutable std::mutex health_mutex_;
  Health health_;
};

class CommitLoopWatch final : public Watch {
 public:
  CommitLoopWatch(CommitLoop& loop, std::list<Subscriber>::iterator it) : loop_(loop), it_(it) {}
  ~CommitLoopWatch() override { loop_.unsubscribe(it_); }
  Status status() const override { return loop_.status_of(it_); }

 private:
  CommitLoop& loop_;
  std::list<Subscriber>::iterator it_;
};

// Opening and closing ---------------------------------------------------------------------------------------------

Status CommitLoop::open() {
  state_ = backend_->state();
  if (state_.clean) {
    BRUME_TRY(auto entries, backend_->load_volatile());
    for (auto& entry : entries) volatile_.emplace(entry.key, std::move(entry));
  } else {
    // Revisions up to the ceiling may have been seen by clients: go on above all of them.
    state_.revision = std::max(state_.revision, state_.ceiling);
  }
  start_revision_ = state_.revision;
  acknowledged_ = state_.revision;
  compacted_ = state_.compacted;
  state_.clean = false;
  if (const auto claimed = claim(); !claimed) {
    // A disk that is full must not keep a node from showing what it knows. No revision is given out before a
    // transaction has raised the ceiling, so the file stays true.
    if (claimed.error().code != Code::kIo) return claimed;
    state_.ceiling = state_.revision;
    set_health(claimed);
  }
  thread_ = std::thread([this] { run(); });
  return {};
}

// Notes in the file that the store is in use, and how far its revisions may go.
Status CommitLoop::claim() {
  state_.ceiling = state_.revision + kCeilingStep;
  BRUME_CHECK(backend_->begin());
  auto saved = backend_->save_state(state_);
  if (saved) saved = backend_->save_volatile({});
  if (saved) saved = backend_->commit();
  if (!saved) backend_->rollback();
  return saved;
}

void CommitLoop::join() {
  {
    const std::lock_guard lock(queue_mutex_);
    stopping_ = true;
  }
  ready_.notify_one();
  if (thread_.joinable()) thread_.join();
}

Task<Status> CommitLoop::close() {
  Status answer;
  co_await await_callback([&](Done done) {
    auto shared = std::make_shared<Done>(std::move(done));
    const bool queued = enqueue([this, &answer, shared] {
      answer = close_now();
      (*shared)();
    });
    if (!queued) (*shared)();
  });
  join();
  co_return answer;
}

Status CommitLoop::close_now() {
  compact_at_ = std::numeric_limits<Revision>::max();  // the thread may wait a while yet to be ended
  std::vector<Entry> entries;
  for (const auto& [key, entry] : volatile_) entries.push_back(entry);
  BRUME_CHECK(backend_->begin());
  state_.clean = true;
  auto saved = backend_->save_state(state_);
  if (saved) saved = backend_->save_volatile(entries);
  if (saved) saved = backend_->commit();
  if (!saved) {
    backend_->rollback();
    return saved;
  }
  return backend_->close();
}

// The queue -------------------------------------------------------------------------------------------------------

bool CommitLoop::enqueue(Done job) {
  {
    const std::lock_guard lock(queue_mutex_);
    if (stopping_) return false;
    jobs_.push_back(std::move(job));
  }
  ready_.notify_one();
  return true;
}

void CommitLoop::run() {
  ::prctl(PR_SET_NAME, "store");
  while (true) {
    std::deque<Done> jobs;
    std::vector<PendingWrite> batch;
    {
      std::unique_lock lock(queue_mutex_);
      const auto has_work = [this] { return stopping_ || !jobs_.empty() || !writes_.empty(); };
      if (compaction_due() && !ready_.wait_for(lock, kQuiet, has_work)) {
        lock.unlock();
        compact_step();
        continue;
      }
      ready_.wait(lock, has_work);
      if (jobs_.empty() && writes_.empty()) return;
      jobs.swap(jobs_);
      while (!writes_.empty() && batch.size() < options_.max_batch) {
        batch.push_back(std::move(writes_.front()));
        writes_.pop_front();
      }
    }
    if (!batch.empty()) commit_batch(std::move(batch));
    for (auto& job : jobs) job();
  }
}

Task<Result<Revision>> CommitLoop::write(Write write) {
  Result<Revision> answer = fail(Code::kServiceUnavailable, "the store is closed");
  co_await await_resume([&](const Executor& executor, Done resume) {
    bool first = false;
    {
      const std::lock_guard lock(queue_mutex_);
      if (stopping_) {
        boost::asio::post(executor, std::move(resume));
        return;
      }
      first = writes_.empty();
      writes_.push_back({std::move(write), &answer, executor, std::move(resume)});
    }
    if (first) ready_.notify_one();
  });
  co_return answer;
}

Task<Result<Range>> CommitLoop::range(std::string prefix, std::string from, std::size_t limit) {
  Result<Range> answer = fail(Code::kServiceUnavailable, "the store is closed");
  co_await await_callback([&](Done done) {
    auto shared = std::make_shared<Done>(std::move(done));
    const bool queued = enqueue([&, shared] {
      answer = backend_->range(prefix, from, limit);
      if (answer) {
        // Volatile entries stand over the backend's, in key order.
        Range merged;
        merged.revision = state_.revision;
        auto it = volatile_.lower_bound(std::max(prefix, from));
        const std::string end = prefix_end(prefix);
        const auto in_range = [&](const std::string& key) { return end.empty() || key < end; };
        for (auto& entry : answer->entries) {
          for (; it != volatile_.end() && in_range(it->first) && it->first < entry.key; ++it) {
            merged.entries.push_back(it->second);
          }
          if (it != volatile_.end() && it->first == entry.key) {
            merged.entries.push_back(it->second);
            ++it;
          } else {
            merged.entries.push_back(std::move(entry));
          }
        }
        for (; !answer->more && it != volatile_.end() && in_range(it->first); ++it)
          merged.entries.push_back(it->second);
        merged.more = answer->more;
        if (limit != 0 && merged.entries.size() > limit) {
          merged.entries.resize(limit);
          merged.more = true;
        }
        answer = std::move(merged);
      }
      (*shared)();
    });
    if (!queued) (*shared)();
  });
  co_return answer;
}

// Writing ---------------------------------------------------------------------------------------------------------

Result<std::optional<Entry>> CommitLoop::find(const std::string& key, bool with_value) {
  if (const auto it = volatile_.find(key); it != volatile_.end()) return it->second;
  return backend_->find(key, with_value);
}

namespace {

// Whether the write's expectation holds for what is there now.
Status check_expected(const Write& write, const std::optional<Entry>& current) {
  if (!current) {
    if (write.kind == Write::Kind::kDelete || write.expected.value_or(0) > 0) {
      return fail(Code::kNotFound, write.key + " is not in the store");
    }
    return {};
  }
  if (!write.expected || *write.expected == current->mod_revision) return {};
  if (*write.expected == 0) return fail(Code::kAlreadyExists, write.key + " is in the store already");
  return fail(Code::kConflict, write.key + " is at revision " + std::to_string(current->mod_revision) + ", not " +
                                   std::to_string(*write.expected));
}

}  // namespace

Result<Event> CommitLoop::apply(const Write& write, Revision revision) {
  BRUME_TRY(const auto current, find(write.key, write.kind == Write::Kind::kDelete));
  BRUME_CHECK(check_expected(write, current));
  Event event{write.kind, write.key, write.value, revision, revision, 0};
  if (current) {
    event.create_revision = current->create_revision;
    event.previous_revision = current->mod_revision;
    if (write.kind == Write::Kind::kDelete) event.value = current->value;
  }
  const bool was_volatile = volatile_.contains(write.key);
  // A key lives in one place: durable until it is deleted, or volatile until a durable write takes it over.
  const bool is_volatile = was_volatile
                               ? write.durability == Durability::kVolatile || write.kind == Write::Kind::kDelete
                               : write.durability == Durability::kVolatile && !current;
  if (was_volatile || is_volatile) {
    const auto it = volatile_.find(write.key);
    volatile_undo_.try_emplace(write.key, it == volatile_.end() ? std::optional<Entry>() : it->second);
  }
  if (is_volatile) {
    apply_volatile(event);
    return event;
  }
  if (was_volatile) volatile_.erase(write.key);
  BRUME_CHECK(ensure_transaction());
  BRUME_CHECK(backend_->apply(event));
  ++applied_;
  return event;
}

void CommitLoop::apply_volatile(const Event& event) {
  if (event.kind == Write::Kind::kDelete) {
    volatile_.erase(event.key);
  } else {
    volatile_[event.key] = {event.key, event.value, event.create_revision, event.revision};
  }
}

Status CommitLoop::ensure_transaction() {
  if (in_transaction_) return {};
  BRUME_CHECK(backend_->begin());
  in_transaction_ = true;
  return {};
}

Status CommitLoop::raise_ceiling(Revision needed) {
  if (needed < state_.ceiling) return {};
  BRUME_CHECK(ensure_transaction());
  auto raised = state_;
  raised.ceiling = needed + kCeilingStep;
  BRUME_CHECK(backend_->save_state(raised));
  state_.ceiling = raised.ceiling;
  return {};
}

Status CommitLoop::finish_transaction(Revision newest) {
  BRUME_CHECK(raise_ceiling(newest));
  if (!in_transaction_) return {};
  BRUME_CHECK(backend_->commit());
  in_transaction_ = false;
  return {};
}

namespace {
// Errors of a write's own making; all others mean that the backend is in trouble.
bool is_refusal(Code code) {
  return code == Code::kConflict || code == Code::kNotFound || code == Code::kAlreadyExists;
}

void answer_all(std::vector<PendingWrite>& batch) {
  PostBatch posts;
  for (auto& pending : batch) posts.add(pending.executor, std::move(pending.resume));
  posts.post();
}
}  // namespace

void CommitLoop::commit_batch(std::vector<PendingWrite> batch) {
  volatile_undo_.clear();
  applied_ = 0;
  const BackendState before = state_;
  std::vector<Event> events;
  Revision newest = state_.revision;
  Status trouble;
  for (auto& pending : batch) {
    auto event = apply(pending.write, newest + 1);
    if (event) {
      *pending.answer = ++newest;
      events.push_back(std::move(*event));
    } else if (is_refusal(event.error().code)) {
      *pending.answer = fail(std::move(event.error()));
    } else {
      trouble = fail(std::move(event.error()));
      break;
    }
  }
  if (trouble) trouble = finish_transaction(newest);
  if (!trouble) {
    if (in_transaction_) backend_->rollback();
    in_transaction_ = false;
    state_ = before;
    for (auto& [key, entry] : volatile_undo_) {
      if (entry) {
        volatile_[key] = *entry;
      } else {
        volatile_.erase(key);
      }
    }
    set_health(trouble);
    const Error error{Code::kServiceUnavailable, "the store cannot write: " + trouble.error().message};
    for (auto& pending : batch) {
      // A refusal stays one: it compared with state that may have been part of this batch, so say "try again" instead.
      *pending.answer = fail(error);
    }
    answer_all(batch);
    return;
  }
  state_.revision = newest;
  set_health({});
  publish(events);
  acknowledged_ = newest;
  answer_all(batch);
  written_ += applied_;
  if (history_) *history_ += applied_;
  if (compaction_overdue()) compact_step();
}

void CommitLoop::set_health(const Status& status) {
  const std::lock_guard lock(health_mutex_);
  if (status.has_value() == health_.writable) return;
  health_ = status ? Health{} : Health{false, status.error().message};
  if (status) {
    log::info("the store can write again");
  } else {
    log::error("the store cannot write; reads go on", {{"reason", health_.reason}});
  }
}

// Watching --------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<Watch>> CommitLoop::watch(std::string prefix, Revision after, Sink sink) {
  std::list<Subscriber>::iterator it;
  {
    // One lock for the check and the registration: compaction serves whoever is registered before it forgets.
    const std::lock_guard lock(sinks_mutex_);
    if (after < compacted_) {
      return fail(Code::kExpired, "revision " + std::to_string(after) + " is compacted; history begins after " +
                                      std::to_string(compacted_.load()));
    }
    it = subscribers_.insert(subscribers_.end(), Subscriber{std::move(prefix), after, std::move(sink), {}});
  }
  auto* subscriber = &*it;
  const bool queued = enqueue([this, subscriber] {
    const std::lock_guard lock(sinks_mutex_);
    const auto found = std::ranges::find_if(subscribers_, [&](const Subscriber& s) { return &s == subscriber; });
    if (found != subscribers_.end()) catch_up(*found, state_.revision);
  });
  if (!queued) {
    unsubscribe(it);
    return fail(Code::kServiceUnavailable, "the store is closed");
  }
  return std::make_unique<CommitLoopWatch>(*this, it);
}

// Delivers from history what the subscriber has not seen of (after, upto]. Under sinks_mutex_, on the store's thread.
void CommitLoop::catch_up(Subscriber& subscriber, Revision upto) {
  if (!subscriber.status || subscriber.after >= upto) return;
  const auto bounded = [&](std::span<const Event> events) {
    const auto end = std::ranges::upper_bound(events, upto, {}, &Event::revision);
    events = events.first(static_cast<std::size_t>(end - events.begin()));
    if (!events.empty()) subscriber.sink(events);
  };
  subscriber.status = backend_->history(subscriber.prefix, subscriber.after, bounded);
  if (!subscriber.status) log::error("a watch could not read history", {{"error", subscriber.status.error().message}});
  subscriber.after = upto;
}

void CommitLoop::publish(std::span<const Event> events) {
  if (events.empty()) return;
  const std::lock_guard lock(sinks_mutex_);
  std::vector<Event> matching;
  for (auto& subscriber : subscribers_) {
    // Its own job may still be queued. Volatile events are in no history, so they cannot wait for it.
    catch_up(subscriber, events.front().revision - 1);
    if (!subscriber.status) continue;
    matching.clear();
    for (const auto& event : events) {
      if (event.revision > subscriber.after && event.key.starts_with(subscriber.prefix)) matching.push_back(event);
    }
    subscriber.after = std::max(subscriber.after, events.back().revision);
    if (!matching.empty()) subscriber.sink(matching);
  }
}

// Compaction ------------------------------------------------------------------------------------------------------

// Closes history up to `compacted` to new watches, after giving those that are registered already what they wait for.
void CommitLoop::catch_up_all(Revision compacted) {
  const std::lock_guard lock(sinks_mutex_);
  for (auto& subscriber : subscribers_) catch_up(subscriber, state_.revision);
  compacted_ = compacted;
}

Status CommitLoop::compact_now(Revision upto) {
  upto = std::min(upto, state_.revision);
  if (upto <= state_.compacted) return {};
  auto compacted = state_;
  compacted.compacted = upto;
  BRUME_CHECK(backend_->begin());
  catch_up_all(upto);
  auto status = backend_->save_state(compacted);
  if (status) status = backend_->compact(state_.compacted, upto);
  if (status) status = backend_->commit();
  if (!status) {
    backend_->rollback();
    compacted_ = state_.compacted;
    return status;
  }
  state_ = compacted;
  history_.reset();
  return {};
}

// History is measured in events, not in revision numbers: an unclean start jumps over a million of those, and must not
// cost every client its place. What fails is tried again after some more writes.
void CommitLoop::compact_step() {
  const auto step = [this]() -> Status {
    if (!history_) {
      BRUME_TRY(history_, backend_->count_after(state_.compacted));
    }
    const Revision left = *history_ - kCompactStep;
    if (left < options_.keep_revisions) return {};
    BRUME_TRY(const Revision upto, backend_->nth_after(state_.compacted, kCompactStep));
    BRUME_CHECK(compact_now(upto));
    history_ = left;
    return {};
  };
  const auto done = step();
  if (done) return;
  compact_at_ = written_ + kCompactStep;
  log::warn("history was not compacted", {{"error", done.error().message}});
}

Task<Status> CommitLoop::compact(Revision revision) {
  Status answer;
  co_await await_callback([&](Done done) {
    auto shared = std::make_shared<Done>(std::move(done));
    const bool queued = enqueue([this, &answer, revision, shared] {
      answer = compact_now(revision);
      (*shared)();
    });
    if (!queued) (*shared)();
  });
  co_return answer;
}

}  // namespace

std::string prefix_end(std::string prefix) {
  while (!prefix.empty()) {
    auto& last = reinterpret_cast<unsigned char&>(prefix.back());
    if (last != 0xff) {
      ++last;
      return prefix;
    }
    prefix.pop_back();
  }
  return prefix;
}

Result<std::unique_ptr<Store>> run_commit_loop(std::unique_ptr<Backend> backend, CommitLoopOptions options) {
  auto loop = std::make_unique<CommitLoop>(std::move(backend), options);
  BRUME_CHECK(loop->open());
  return loop;
}

Result<std::unique_ptr<Store>> open_sqlite(SqliteOptions options) {
  BRUME_TRY(auto backend, open_sqlite_backend(options.path));
  return run_commit_loop(std::move(backend), {options.max_batch, options.keep_revisions});
}

std::unique_ptr<Store> open_memory() {
  auto loop = run_commit_loop(open_memory_backend(), {});
  if (!loop) std::abort();  // memory cannot fail to open
  return std::move(*loop);
}

}  // namespace brume::store
