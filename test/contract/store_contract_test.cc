// One suite, run unchanged over every Store.
#include <filesystem>
#include <mutex>
#include <random>

#include "brume/base/random.h"
#include "brume/store/store.h"
#include "catch.h"
#include "support/run.h"

using namespace brume;
using namespace brume::store;
using brume::test::run;

namespace {

/// A store under test, and how to open it again.
struct Subject {
  std::string name;
  std::string directory;
  std::unique_ptr<Store> store;
  bool persistent = false;

  explicit Subject(const std::string& kind) : name(kind), persistent(kind == "sqlite") {
    if (persistent) {
      directory = std::filesystem::temp_directory_path() / ("brume-store-" + random_suffix(8));
      std::filesystem::create_directory(directory);
    }
    open();
  }
  ~Subject() {
    store.reset();
    if (persistent) std::filesystem::remove_all(directory);
  }
  void open() {
    if (!persistent) {
      store = open_memory();
      return;
    }
    auto opened = open_sqlite({.path = directory + "/state.db"});
    if (!opened) FAIL(opened.error().message);
    store = std::move(*opened);
  }
};

Bytes bytes(std::string text) { return std::make_shared<const std::string>(std::move(text)); }

Write put(std::string key, std::string value, std::optional<Revision> expected = {}) {
  return {Write::Kind::kPut, std::move(key), bytes(std::move(value)), expected, Durability::kDurable};
}
Write del(std::string key, std::optional<Revision> expected = {}) {
  return {Write::Kind::kDelete, std::move(key), nullptr, expected, Durability::kDurable};
}
Write lease(std::string key, std::string value) {
  return {Write::Kind::kPut, std::move(key), bytes(std::move(value)), {}, Durability::kVolatile};
}

Result<Revision> write(Store& store, Write w) {
  return test::value_of<Result<Revision>>([&]() -> Task<Result<Revision>> { co_return co_await store.write(w); });
}
Range range(Store& store, std::string prefix, std::string from = "", std::size_t limit = 0) {
  auto got = test::value_of<Result<Range>>(
      [&]() -> Task<Result<Range>> { co_return co_await store.range(prefix, from, limit); });
  if (!got) FAIL(got.error().message);
  return std::move(*got);
}

/// Collects a watch's events; settled() waits until the store has handled everything queued before.
struct Collector {
  std::mutex mutex;
  std::vector<store::Event> events;
  Sink sink() {
    return [this](std::span<const store::Event> batch) {
      const std::lock_guard lock(mutex);
      events.insert(events.end(), batch.begin(), batch.end());
    };
  }
  std::vector<store::Event> settled(Store& store) {
    (void)range(store, "/nothing/");
    const std::lock_guard lock(mutex);
    return events;
  }
};

void close(Store& store) {
  auto closed = test::value_of<Status>([&]() -> Task<Status> { co_return co_await store.close(); });
  if (!closed) FAIL(closed.error().message);
}

}  // namespace

TEST_CASE("store: compare-and-write") {
  const auto* kind = GENERATE("memory", "sqlite");
  Subject subject(kind);
  Store& store = *subject.store;
  const auto created = write(store, put("/pods/a/x", "1", 0));
  REQUIRE(created);
  CHECK(write(store, put("/pods/a/x", "2", 0)).error().code == Code::kAlreadyExists);
  CHECK(write(store, put("/pods/a/x", "2", *created + 7)).error().code == Code::kConflict);
  CHECK(write(store, put("/pods/a/y", "2", 3)).error().code == Code::kNotFound);
  CHECK(write(store, del("/pods/a/y")).error().code == Code::kNotFound);
  const auto updated = write(store, put("/pods/a/x", "2", *created));
  REQUIRE(updated);
  CHECK(*updated == *created + 1);
  const auto got = range(store, "/pods/");
  REQUIRE(got.entries.size() == 1);
  CHECK(*got.entries[0].value == "2");
  CHECK(got.entries[0].create_revision == *created);
  CHECK(got.entries[0].mod_revision == *updated);
  CHECK(write(store, del("/pods/a/x", *created)).error().code == Code::kConflict);
  CHECK(write(store, del("/pods/a/x", *updated)));
  CHECK(range(store, "/pods/").entries.empty());
  CHECK(store.revision() == *updated + 1);
}

TEST_CASE("store: ranges are ordered, bounded by prefix and limit") {
  const auto* kind = GENERATE("memory", "sqlite");
  Subject subject(kind);
  Store& store = *subject.store;
  for (const auto* key : {"/pods/b", "/pods/a", "/podsx/z", "/nodes/n", "/pods/c"})
    REQUIRE(write(store, put(key, key)));
  auto page = range(store, "/pods/", "", 2);
  REQUIRE(page.entries.size() == 2);
  CHECK(page.more);
  CHECK(page.entries[0].key == "/pods/a");
  page = range(store, "/pods/", page.entries[1].key + '\0', 2);
  REQUIRE(page.entries.size() == 1);
  CHECK(page.entries[0].key == "/pods/c");
  CHECK_FALSE(page.more);
}

TEST_CASE("store: a watch replays history, then follows, without gap or repeat") {
  const auto* kind = GENERATE("memory", "sqlite");
  Subject subject(kind);
  Store& store = *subject.store;
  const auto first = write(store, put("/pods/x", "1"));
  REQUIRE(write(store, put("/nodes/n", "1")));
  REQUIRE(write(store, put("/pods/x", "2")));
  Collector all;
  Collector tail;
  auto watch_all = store.watch("/pods/", 0, all.sink());
  auto watch_tail = store.watch("/pods/", *first, tail.sink());
  REQUIRE(watch_all);
  REQUIRE(watch_tail);
  REQUIRE(write(store, del("/pods/x")));
  const auto events = all.settled(store);
  REQUIRE(events.size() == 3);
  CHECK(*events[0].value == "1");
  CHECK(events[1].previous_revision == events[0].revision);
  CHECK(events[2].kind == Write::Kind::kDelete);
  CHECK(*events[2].value == "2");
  CHECK(tail.settled(store).size() == 2);
  watch_tail->reset();
  REQUIRE(write(store, put("/pods/x", "3")));
  CHECK(tail.settled(store).size() == 2);
  CHECK(all.settled(store).size() == 4);
}

TEST_CASE("store: watches opened under write load see each revision once") {
  const auto* kind = GENERATE("memory", "sqlite");
  Subject subject(kind);
  Store& store = *subject.store;
  std::vector<std::unique_ptr<Collector>> collectors;
  std::vector<std::unique_ptr<Watch>> watches;
  run([&]() -> Task<void> {
    for (int i = 0; i < 200; ++i) {
      if (i % 20 == 0) {
        collectors.push_back(std::make_unique<Collector>());
        watches.push_back(std::move(*store.watch("/p/", 0, collectors.back()->sink())));
      }
      const auto written = co_await store.write(put("/p/" + std::to_string(i % 7), std::to_string(i)));
      if (!written) std::abort();
    }
  });
  for (auto& collector : collectors) {
    const auto events = collector->settled(store);
    REQUIRE(events.size() == 200);
    for (std::size_t i = 1; i < events.size(); ++i) CHECK(events[i].revision == events[i - 1].revision + 1);
  }
}

TEST_CASE("store: a watch opened at a future or past revision sees volatile and durable writes in order, once") {
  const auto* kind = GENERATE("memory", "sqlite");
  Subject subject(kind);
  Store& store = *subject.store;
  const auto first = write(store, put("/p/a", "1"));
  REQUIRE(first);
  Collector past;
  Collector future;
  std::vector<std::unique_ptr<Watch>> watches;
  run([&]() -> Task<void> {
    watches.push_back(std::move(*store.watch("/p/", *first + 4, future.sink())));
    // The other is registered while writes are queued: the volatile one must not fall between history and live.
    TaskGroup writers(co_await boost::asio::this_coro::executor);
    for (int i = 0; i < 8; ++i) {
      auto one = i % 2 == 0 ? lease("/p/lease", std::to_string(i)) : put("/p/a", std::to_string(i));
      writers.spawn("writer", [](Store& s, Write w) -> Task<void> {
        if (!co_await s.write(std::move(w))) std::abort();
      }(store, std::move(one)));
    }
    co_await yield_now();
    watches.push_back(std::move(*store.watch("/p/", *first - 1, past.sink())));
    while (writers.size() > 0) co_await sleep_for(std::chrono::milliseconds(1));
  });
  const auto seen = past.settled(store);
  for (std::size_t i = 1; i < seen.size(); ++i) CHECK(seen[i].revision > seen[i - 1].revision);
  CHECK(seen.back().revision == *first + 8);
  const auto later = future.settled(store);
  REQUIRE(later.size() == 4);
  CHECK(later.front().revision == *first + 5);
}

TEST_CASE("store: compaction forgets history but no live entry") {
  const auto* kind = GENERATE("memory", "sqlite");
  Subject subject(kind);
  Store& store = *subject.store;
  REQUIRE(write(store, put("/p/old", "kept")));
  REQUIRE(write(store, put("/p/x", "1")));
  const auto second = write(store, put("/p/x", "2"));
  const auto compacted = test::value_of<Status>([&]() -> Task<Status> { co_return co_await store.compact(*second); });
  REQUIRE(compacted);
  Collector collector;
  CHECK(store.watch("/p/", 0, collector.sink()).error().code == Code::kExpired);
  CHECK(range(store, "/p/").entries.size() == 2);
  REQUIRE(store.watch("/p/", *second, collector.sink()));
  REQUIRE(write(store, del("/p/old")));
  REQUIRE(write(store, put("/p/x", "3")));
  CHECK(*range(store, "/p/").entries.at(0).value == "3");
}

TEST_CASE("store: volatile entries are read and watched like others, and a clean close keeps them") {
  const auto* kind = GENERATE("memory", "sqlite");
  Subject subject(kind);
  Collector collector;
  auto watch = subject.store->watch("/leases/", 0, collector.sink());
  REQUIRE(write(*subject.store, lease("/leases/n1", "a")));
  REQUIRE(write(*subject.store, put("/leases/durable", "d")));
  const auto renewed = write(*subject.store, lease("/leases/n1", "b"));
  REQUIRE(renewed);
  const auto got = range(*subject.store, "/leases/");
  REQUIRE(got.entries.size() == 2);
  CHECK(got.entries[0].key == "/leases/durable");
  CHECK(*got.entries[1].value == "b");
  CHECK(collector.settled(*subject.store).size() == 3);
  if (!subject.persistent) return;
  watch->reset();
  close(*subject.store);
  subject.open();
  CHECK(range(*subject.store, "/leases/").entries.size() == 2);
  CHECK(subject.store->revision() == *renewed);
}

TEST_CASE("store: after an unclean end every durable write is there and no revision comes again") {
  Subject subject("sqlite");
  const auto durable = write(*subject.store, put("/p/x", "1"));
  const auto seen = write(*subject.store, lease("/leases/n1", "a"));
  REQUIRE(seen);
  CHECK(*seen > *durable);
  subject.store.reset();  // without close(): as after SIGKILL
  subject.open();
  CHECK(range(*subject.store, "/leases/").entries.empty());
  REQUIRE(range(*subject.store, "/p/").entries.size() == 1);
  CHECK(subject.store->start_revision() > *seen);
  Collector collector;
  auto watch = subject.store->watch("/p/", *durable, collector.sink());
  const auto next = write(*subject.store, put("/p/y", "2"));
  CHECK(*next > *seen);
  CHECK(collector.settled(*subject.store).size() == 1);
}

TEST_CASE("store: histories of all backends agree under random traffic") {
  std::vector<std::vector<std::string>> logs;
  for (const auto* kind : {"memory", "sqlite"}) {
    Subject subject(kind);
    std::mt19937 random(7);  // the same traffic for each
    Collector collector;
    auto watch = subject.store->watch("/", 0, collector.sink());
    std::vector<std::string> log;
    for (int i = 0; i < 400; ++i) {
      const std::string key = "/k/" + std::to_string(random() % 12);
      Write w = random() % 4 == 0 ? del(key) : put(key, std::to_string(i));
      if (random() % 3 == 0) w.expected = static_cast<Revision>(random() % 50);
      if (random() % 5 == 0) w.durability = Durability::kVolatile;
      const auto answer = write(*subject.store, w);
      log.push_back(answer ? std::to_string(*answer) : std::string(reason_of(answer.error().code)));
    }
    for (const auto& event : collector.settled(*subject.store)) {
      log.push_back(event.key + "@" + std::to_string(event.revision) + "<" + std::to_string(event.previous_revision) +
                    "=" + *event.value);
    }
    for (const auto& entry : range(*subject.store, "/").entries) log.push_back(entry.key + "=" + *entry.value);
    logs.push_back(std::move(log));
  }
  CHECK(logs[0] == logs[1]);
}
