// What the store does when its disk fails.
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "brume/base/random.h"
#include "brume/store/store.h"
#include "catch.h"
#include "fault/faulty_backend.h"
#include "support/run.h"
#include "support/waiting.h"

using namespace brume;
using namespace brume::store;

namespace {

Result<Revision> put(Store& store, std::string key, std::string value = "v",
                     Durability durability = Durability::kDurable) {
  Write write{Write::Kind::kPut, std::move(key), std::make_shared<const std::string>(std::move(value)), {}, durability};
  return brume::test::value_of<Result<Revision>>(
      [&]() -> Task<Result<Revision>> { co_return co_await store.write(write); });
}

std::size_t count(Store& store) {
  auto got = brume::test::value_of<Result<Range>>(
      [&]() -> Task<Result<Range>> { co_return co_await store.range("/", "", 0); });
  return got ? got->entries.size() : 9999;
}

struct Directory {
  std::string path = std::filesystem::temp_directory_path() / ("brume-fault-" + random_suffix(8));
  Directory() { std::filesystem::create_directory(path); }
  ~Directory() { std::filesystem::remove_all(path); }
};

/// A file system of a size, at a directory of its own.
struct SmallDisk : Directory {
  explicit SmallDisk(const std::string& size) {
    REQUIRE(::mount("tmpfs", path.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0);
  }
  ~SmallDisk() { ::umount2(path.c_str(), MNT_DETACH); }
  void grow(const std::string& size) const {
    REQUIRE(::mount("tmpfs", path.c_str(), "tmpfs", MS_REMOUNT, ("size=" + size).c_str()) == 0);
  }
  void writable(bool yes) const {
    REQUIRE(::mount("tmpfs", path.c_str(), "tmpfs", MS_REMOUNT | (yes ? 0UL : MS_RDONLY), nullptr) == 0);
  }
};

}  // namespace

TEST_CASE("a failed commit answers with an error, keeps reads, and later writes go on") {
  for (const bool in_apply : {false, true}) {
    store::test::Faults faults;
    auto store = run_commit_loop(std::make_unique<store::test::FaultyBackend>(open_memory_backend(), faults), {});
    REQUIRE(store);
    REQUIRE(put(**store, "/a"));
    (in_apply ? faults.fail_applies : faults.fail_commits) = 1;
    int events = 0;
    auto watch = (*store)->watch("/", (*store)->revision(), [&](std::span<const store::Event> batch) {
      events += static_cast<int>(batch.size());
    });
    const auto before = (*store)->revision();
    const auto failed = put(**store, "/b");
    REQUIRE_FALSE(failed);
    CHECK(failed.error().code == Code::kServiceUnavailable);
    CHECK_FALSE((*store)->health().writable);
    CHECK((*store)->health().reason.find("disk full") != std::string::npos);
    CHECK(count(**store) == 1);
    CHECK((*store)->revision() == before);
    REQUIRE(put(**store, "/b"));
    CHECK((*store)->health().writable);
    CHECK(count(**store) == 2);
    CHECK(events == 1);
  }
}

TEST_CASE("a really full disk loses nothing acknowledged and mends when space is freed") {
  const SmallDisk directory("1m");
  {
    auto store = open_sqlite({.path = directory.path + "/state.db"});
    REQUIRE(store);
    std::size_t acknowledged = 0;
    Result<Revision> last = 0;
    while (last) {
      last = put(**store, "/k/" + std::to_string(acknowledged), std::string(8000, 'x'));
      if (last) ++acknowledged;
    }
    CHECK((*store)->health().reason.find("disk full") != std::string::npos);
    CHECK(acknowledged > 10);
    CHECK(count(**store) == acknowledged);
    directory.grow("16m");
    CHECK(put(**store, "/after"));
    CHECK((*store)->health().writable);
    store->reset();
    auto again = open_sqlite({.path = directory.path + "/state.db"});
    REQUIRE(again);
    CHECK(count(**again) == acknowledged + 1);
  }
}

TEST_CASE("a start on a full disk reads, gives out no revision, and writes once there is space") {
  for (const bool clean : {true, false}) {
    const SmallDisk directory("4m");
    const std::string path = directory.path + "/state.db";
    const auto reopen = [&] { return open_sqlite({.path = path}); };
    Revision seen = 0;
    {
      auto store = reopen();
      REQUIRE(store);
      REQUIRE(put(**store, "/kept"));
      REQUIRE(put(**store, "/lease", "v", Durability::kVolatile));
      seen = (*store)->revision();
      if (clean) {
        REQUIRE(brume::test::value_of<Status>([&]() -> Task<Status> { co_return co_await (*store)->close(); }));
      }
    }
    std::ofstream(directory.path + "/filler") << std::string(8 << 20, 'f');
    for (int start = 0; start < 2; ++start) {  // the second after a SIGKILL of the first
      auto store = reopen();
      REQUIRE(store);
      CHECK((*store)->health().reason.find("disk full") != std::string::npos);
      CHECK(count(**store) == (clean ? 2 : 1));  // volatile entries outlive a clean end only
      const auto before = (*store)->revision();
      CHECK(before >= seen);
      CHECK_FALSE(put(**store, "/more"));
      CHECK_FALSE(put(**store, "/lease", "w", Durability::kVolatile));
      CHECK((*store)->revision() == before);
      seen = before;
    }
    auto store = reopen();
    REQUIRE(store);
    std::filesystem::remove(directory.path + "/filler");
    const auto written = put(**store, "/more");
    REQUIRE(written);
    CHECK(*written > seen);
    CHECK((*store)->health().writable);
    const auto lease = put(**store, "/lease", "w", Durability::kVolatile);
    REQUIRE(lease);
    store->reset();  // and this one unclean: the lease's revision, in no file, is not used again
    store = reopen();
    REQUIRE(store);
    CHECK((*store)->revision() > *lease);
  }
}

TEST_CASE("a start on a read-only disk shows every acknowledged write and refuses new ones") {
  for (const bool clean : {true, false}) {  // what an unclean end leaves in the write-ahead log is read from there
    const SmallDisk directory("4m");
    const std::string path = directory.path + "/state.db";
    Revision seen = 0;
    {
      auto store = open_sqlite({.path = path});
      REQUIRE(store);
      for (int i = 0; i < 20; ++i) REQUIRE(put(**store, "/k/" + std::to_string(i)));
      seen = (*store)->revision();
      if (clean) {
        REQUIRE(brume::test::value_of<Status>([&]() -> Task<Status> { co_return co_await (*store)->close(); }));
      } else {
        // What a SIGKILL leaves: the files as they are before a close.
        std::filesystem::copy(path, path + ".killed");
        std::filesystem::copy(path + "-wal", path + ".killed-wal");
      }
    }
    if (!clean) {
      std::filesystem::rename(path + ".killed", path);
      std::filesystem::rename(path + ".killed-wal", path + "-wal");
    }
    directory.writable(false);
    {
      auto store = open_sqlite({.path = path});
      INFO((store ? std::string() : store.error().message));
      REQUIRE(store);
      CHECK((*store)->health().reason.find("read-only") != std::string::npos);
      CHECK(count(**store) == 20);
      CHECK((*store)->revision() >= seen);
      CHECK_FALSE(put(**store, "/more"));
      CHECK_FALSE(put(**store, "/lease", "v", Durability::kVolatile));
      CHECK(count(**store) == 20);
    }
    directory.writable(true);
    auto store = open_sqlite({.path = path});
    REQUIRE(store);
    CHECK((*store)->health().writable);
    CHECK(count(**store) == 20);
    const auto written = put(**store, "/more");
    REQUIRE(written);
    CHECK(*written > seen);
  }
}

TEST_CASE("a file that is no database, a newer format and a file in use are told apart") {
  Directory directory;
  const std::string path = directory.path + "/state.db";
  std::ofstream(path) << std::string(8192, 'z');
  auto store = open_sqlite({.path = path});
  REQUIRE_FALSE(store);
  CHECK(store.error().code == Code::kCorrupt);
  std::filesystem::remove(path);
  auto owner = open_sqlite({.path = path});
  REQUIRE(owner);
  auto second = open_sqlite({.path = path});
  REQUIRE_FALSE(second);
  CHECK(second.error().message.find("another process") != std::string::npos);
}

TEST_CASE("a watch that is let in before a compaction gets the history it asked for") {
  store::test::Faults faults;
  auto store = run_commit_loop(std::make_unique<store::test::FaultyBackend>(open_memory_backend(), faults), {});
  REQUIRE(store);
  for (int i = 0; i < 3; ++i) REQUIRE(put(**store, "/k" + std::to_string(i)));
  const auto newest = (*store)->revision();
  // The store's thread is held up in a read, so that a compaction is queued before the watch's reading of history.
  std::promise<void> reading;
  std::promise<void> go_on;
  faults.in_range = [&, first = true]() mutable {
    if (!std::exchange(first, false)) return;
    reading.set_value();
    go_on.get_future().wait();
  };
  std::thread reader([&] { (void)count(**store); });
  reading.get_future().wait();
  std::thread compactor([&] {
    (void)brume::test::value_of<Status>([&]() -> Task<Status> { co_return co_await (*store)->compact(newest); });
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  std::vector<Revision> seen;
  auto watch = (*store)->watch("/", newest - 3, [&](std::span<const store::Event> batch) {
    for (const auto& event : batch) seen.push_back(event.revision);
  });
  go_on.set_value();
  compactor.join();
  reader.join();
  REQUIRE(watch);
  (void)count(**store);
  CHECK((*watch)->status());
  CHECK((*store)->compacted_revision() == newest);
  CHECK(seen == std::vector<Revision>{newest - 2, newest - 1, newest});
  CHECK((*store)->watch("/", newest - 1, [](auto) {}).error().code == Code::kExpired);
}

TEST_CASE("a watch whose history cannot be read says so and stays silent") {
  store::test::Faults faults;
  auto store = run_commit_loop(std::make_unique<store::test::FaultyBackend>(open_memory_backend(), faults), {});
  REQUIRE(store);
  REQUIRE(put(**store, "/a"));
  faults.fail_histories = 1;
  int events = 0;
  auto watch =
      (*store)->watch("/", 0, [&](std::span<const store::Event> batch) { events += static_cast<int>(batch.size()); });
  REQUIRE(watch);
  (void)count(**store);
  REQUIRE_FALSE((*watch)->status());
  REQUIRE(put(**store, "/b"));
  CHECK(events == 0);
}

TEST_CASE("unclean starts cost no history") {
  const Directory directory;
  const std::string path = directory.path + "/state.db";
  Revision first = 0;
  for (int start = 0; start < 4; ++start) {
    auto store = open_sqlite({.path = path, .keep_revisions = 100});
    REQUIRE(store);
    const auto written = put(**store, "/k" + std::to_string(start));
    REQUIRE(written);
    if (start == 0) first = *written;
    store->reset();  // not closed: as after SIGKILL, the next start jumps over a million revisions
  }
  auto store = open_sqlite({.path = path, .keep_revisions = 100});
  REQUIRE(store);
  int events = 0;
  auto watch = (*store)->watch("/", first,
                               [&](std::span<const store::Event> batch) { events += static_cast<int>(batch.size()); });
  REQUIRE(watch);
  (void)count(**store);
  CHECK(events == 3);
  // And what is too much is still dropped.
  brume::test::run([&]() -> Task<void> {
    // Waiting together, many share a commit.
    TaskGroup writers(co_await boost::asio::this_coro::executor);
    for (int i = 0; i < 2'500; ++i) {
      writers.spawn("writer", [](Store& s) -> Task<void> {
        (void)co_await s.write(
            {Write::Kind::kPut, "/many", std::make_shared<const std::string>("v"), {}, Durability::kDurable});
      }(**store));
    }
    while (writers.size() > 0) co_await sleep_for(std::chrono::milliseconds(1));
  });
  REQUIRE(put(**store, "/many"));
  const auto kept = [&] { return (*store)->revision() - (*store)->compacted_revision(); };
  CHECK(brume::test::eventually_in_thread([&] { return kept() < 1'100; }));
  CHECK((*store)->compacted_revision() > first);
  CHECK(kept() >= 100);
}

TEST_CASE("history that grows without a pause is dropped all the same, and what cannot be dropped hinders no write") {
  store::test::Faults faults;
  auto store = run_commit_loop(std::make_unique<store::test::FaultyBackend>(open_memory_backend(), faults),
                               {.keep_revisions = 100});
  REQUIRE(store);
  faults.fail_compactions = 1;
  const auto write_many = [&](int many) {
    brume::test::run([&, many]() -> Task<void> {
      TaskGroup writers(co_await boost::asio::this_coro::executor);
      for (int i = 0; i < many; ++i) {
        writers.spawn("writer", [](Store& s) -> Task<void> {
          (void)co_await s.write(
              {Write::Kind::kPut, "/many", std::make_shared<const std::string>("v"), {}, Durability::kDurable});
        }(**store));
      }
      while (writers.size() > 0) co_await sleep_for(std::chrono::milliseconds(1));
    });
  };
  write_many(25'000);
  CHECK(faults.fail_compactions == 0);
  CHECK((*store)->revision() == 25'000);
  CHECK((*store)->compacted_revision() > 0);
  CHECK((*store)->health().writable);
}
