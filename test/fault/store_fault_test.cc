// What the store does when its disk fails.
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "brume/base/random.h"
#include "brume/store/store.h"
#include "catch.h"
#include "fault/faulty_backend.h"
#include "support/run.h"

using namespace brume;
using namespace brume::store;

namespace {

Result<Revision> put(Store& store, std::string key, std::string value = "v") {
  Write write{Write::Kind::kPut, std::move(key), std::make_shared<const std::string>(std::move(value)), {}, Durability::kDurable};
  return brume::test::value_of<Result<Revision>>([&]() -> Task<Result<Revision>> { co_return co_await store.write(write); });
}

std::size_t count(Store& store) {
  auto got = brume::test::value_of<Result<Range>>([&]() -> Task<Result<Range>> { co_return co_await store.range("/", "", 0); });
  return got ? got->entries.size() : 9999;
}

struct Directory {
  std::string path = std::filesystem::temp_directory_path() / ("brume-fault-" + random_suffix(8));
  Directory() { std::filesystem::create_directory(path); }
  ~Directory() { std::filesystem::remove_all(path); }
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
    auto watch = (*store)->watch("/", (*store)->revision(), [&](std::span<const store::Event> batch) { events += static_cast<int>(batch.size()); });
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
  Directory directory;
  REQUIRE(::mount("tmpfs", directory.path.c_str(), "tmpfs", 0, "size=1m") == 0);
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
    REQUIRE(::mount("tmpfs", directory.path.c_str(), "tmpfs", MS_REMOUNT, "size=16m") == 0);
    CHECK(put(**store, "/after"));
    CHECK((*store)->health().writable);
    store->reset();
    auto again = open_sqlite({.path = directory.path + "/state.db"});
    REQUIRE(again);
    CHECK(count(**again) == acknowledged + 1);
  }
  ::umount2(directory.path.c_str(), MNT_DETACH);
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
