#include "brume/client/events.h"

#include <algorithm>
#include <cstdio>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "brume/base/json.h"
#include "brume/base/log.h"
#include "brume/base/task.h"

namespace brume::client {

namespace {

using namespace std::chrono_literals;
using SteadyTime = std::chrono::steady_clock::time_point;

// client-go, tools/record/events_cache.go.
constexpr std::size_t kCacheSize = 4096;
constexpr std::size_t kMaxSimilar = 10;
constexpr auto kSimilarWindow = 10min;
constexpr double kSpamBurst = 25;
constexpr double kSpamPerSecond = 1.0 / 300.0;
constexpr std::size_t kMaxWaiting = 1000;

/// The entries used last, at most kCacheSize.
template <typename Value>
class Recent {
 public:
  Value& operator[](const std::string& key) {
    if (auto it = where_.find(key); it != where_.end()) {
      order_.splice(order_.begin(), order_, it->second);
      return it->second->second;
    }
    if (where_.size() >= kCacheSize) {
      where_.erase(order_.back().first);
      order_.pop_back();
    }
    order_.emplace_front(key, Value{});
    where_[key] = order_.begin();
    return order_.front().second;
  }

 private:
  std::list<std::pair<std::string, Value>> order_;
  std::unordered_map<std::string, typename std::list<std::pair<std::string, Value>>::iterator> where_;
};

struct Tokens {
  double left = kSpamBurst;
  std::optional<SteadyTime> last;
};

struct Similar {
  std::set<std::string> messages;
  SteadyTime last{};
};

struct Written {
  int count = 0;
  std::string name;
  std::string first;
};

struct Entry {
  ObjectReference about;
  bool warning = false;
  std::string reason;
  std::string message;
  std::string key;
  std::string time;  // RFC 3339
  std::string name;  // of the event, should it be new
};

std::string object_key(const ObjectReference& about) {
  return about.kind + "/" + about.ns + "/" + about.name + "/" + about.uid + "/" + about.api_version + "/" +
         about.field_path;
}

}  // namespace

struct EventRecorder::State {
  State(Client& c, const Executor& executor, Clock& k, std::string who, std::string h)
      : client(c), clock(k), component(std::move(who)), host(std::move(h)), tasks(executor) {}

  Client& client;
  Clock& clock;
  std::string component;
  std::string host;
  TaskGroup tasks;
  Recent<Tokens> spam;
  Recent<Similar> similar;
  Recent<Written> written;
  std::deque<Entry> waiting;
  bool writing = false;
  std::uint64_t last_name = 0;  // the nanoseconds in the last event's name
  std::vector<std::shared_ptr<Event>> flushers;

  bool allow(const std::string& key);
  void fold(Entry& entry, const std::string& group);
  static Task<void> write_all(State* self);
  Task<Status> write(const Entry& entry);
  Json body(const Entry& entry) const;
};

bool EventRecorder::State::allow(const std::string& key) {
  auto& tokens = spam[key];
  const auto now = clock.steady();
  if (tokens.last) {
    const double passed = std::chrono::duration<double>(now - *tokens.last).count();
    tokens.left = std::min(kSpamBurst, tokens.left + passed * kSpamPerSecond);
  }
  tokens.last = now;
  if (tokens.left < 1) return false;
  tokens.left -= 1;
  return true;
}

// Gives the entry its key: its own, or that of its reason when too many messages of it came lately.
void EventRecorder::State::fold(Entry& entry, const std::string& group) {
  auto& seen = similar[group];
  const auto now = clock.steady();
  if (now - seen.last > kSimilarWindow) seen.messages.clear();
  seen.last = now;
  seen.messages.insert(entry.message);
  if (seen.messages.size() < kMaxSimilar) {
    entry.key = group + "|" + entry.message;
    return;
  }
  seen.messages.erase(seen.messages.begin());
  entry.key = group;
  entry.message.insert(0, "(combined from similar events): ");
}

Json EventRecorder::State::body(const Entry& entry) const {
  Json source = {{"component", component}};
  if (!host.empty()) source["host"] = host;
  return {{"metadata", {{"name", entry.name}, {"namespace", entry.about.ns.empty() ? "default" : entry.about.ns}}},
          {"involvedObject", entry.about.to_json()},
          {"reason", entry.reason},
          {"message", entry.message},
          {"type", entry.warning ? "Warning" : "Normal"},
          {"source", std::move(source)},
          {"reportingComponent", component},
          {"reportingInstance", host},
          {"firstTimestamp", entry.time},
          {"lastTimestamp", entry.time},
          {"count", 1}};
}

Task<Status> EventRecorder::State::write(const Entry& entry) {
  const auto& events = api::res("events");
  const std::string ns = entry.about.ns.empty() ? "default" : entry.about.ns;
  const Written before = written[entry.key];
  if (before.count > 0) {
    Json patch = {{"count", before.count + 1}, {"lastTimestamp", entry.time}, {"message", entry.message}};
    auto patched = co_await client.patch(events, ns, before.name, PatchType::kMerge, std::move(patch));
    if (patched) {
      written[entry.key].count = before.count + 1;
      co_return Status{};
    }
    if (patched.error().code != Code::kNotFound) co_return fail(patched.error());
    // It outlived its time in the server: a new one is begun, which goes on counting.
  }
  Json created = body(entry);
  if (before.count > 0) {
    created["count"] = before.count + 1;
    created["firstTimestamp"] = before.first;
  }
  BRUME_CO_TRY(auto object, co_await client.create(events, ns, std::move(created)));
  written[entry.key] = {
      .count = before.count + 1, .name = object->name(), .first = before.count > 0 ? before.first : entry.time};
  co_return Status{};
}

Task<void> EventRecorder::State::write_all(State* self) {
  while (!self->waiting.empty()) {
    Entry entry = std::move(self->waiting.front());
    self->waiting.pop_front();
    const auto done = co_await self->write(entry);
    // A namespace that goes away takes no events; nobody would read them.
    if (!done && done.error().code != Code::kForbidden && done.error().code != Code::kNotFound) {
      log::warn("event could not be written", {{"object", entry.about.ns + "/" + entry.about.name},
                                               {"reason", entry.reason},
                                               {"error", done.error().message}});
    }
  }
  self->writing = false;
  for (auto& flusher : std::exchange(self->flushers, {})) flusher->notify();
}

EventRecorder::EventRecorder(Client& client, const Executor& executor, Clock& clock, std::string component,
                             std::string host)
    : state_(std::make_unique<State>(client, executor, clock, std::move(component), std::move(host))) {}
EventRecorder::~EventRecorder() = default;

void EventRecorder::normal(const api::Object& about, std::string_view reason, std::string message) {
  event(ObjectReference::to(about), false, reason, std::move(message));
}

void EventRecorder::warning(const api::Object& about, std::string_view reason, std::string message) {
  event(ObjectReference::to(about), true, reason, std::move(message));
}

void EventRecorder::event(const ObjectReference& about, bool warning, std::string_view reason, std::string message) {
  auto& self = *state_;
  const std::string object = object_key(about);
  if (self.tasks.stopping() || self.waiting.size() >= kMaxWaiting || !self.allow(object)) return;
  Entry entry{.about = about,
              .warning = warning,
              .reason = std::string(reason),
              .message = std::move(message),
              .key = {},
              .time = format_rfc3339(self.clock.now()),
              .name = {}};
  self.fold(entry, object + "|" + (warning ? "W|" : "N|") + entry.reason);
  // The name that client-go gives: the object's with the time in nanoseconds, which no two events of it share.
  const auto now = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(self.clock.now().time_since_epoch()).count());
  self.last_name = std::max(now, self.last_name + 1);
  char suffix[24];
  std::snprintf(suffix, sizeof suffix, ".%llx", static_cast<unsigned long long>(self.last_name));
  entry.name = about.name + suffix;
  self.waiting.push_back(std::move(entry));
  if (std::exchange(self.writing, true)) return;
  self.tasks.spawn("events", State::write_all(&self));
}

Task<void> EventRecorder::flush() {
  auto* self = state_.get();
  while (self->writing && !self->tasks.stopping()) {
    auto flusher = std::make_shared<Event>(self->tasks.executor());
    self->flushers.push_back(flusher);
    co_await flusher->wait();
  }
}

Task<void> EventRecorder::stop() {
  auto* self = state_.get();
  co_await self->tasks.stop();
  for (auto& flusher : std::exchange(self->flushers, {})) flusher->notify();
}

}  // namespace brume::client
