// Reading, following and rotating container logs.
#include <filesystem>
#include <fstream>

#include "agent/log_keeper.h"
#include "brume/base/random.h"
#include "catch.h"
#include "fake_clock.h"
#include "run.h"
#include "stream/log_file.h"
#include "stream/log_reader.h"

using namespace brume;
using namespace brume::node;
using namespace brume::test;
namespace fs = std::filesystem;

namespace {

struct LogDir {
  fs::path path = fs::temp_directory_path() / ("brume-log-" + random_suffix(8));
  LogDir() { fs::create_directories(path); }
  ~LogDir() { fs::remove_all(path); }
  [[nodiscard]] std::string file() const { return (path / "0.log").string(); }
  void add(const std::string& text) const {
    std::ofstream out(file(), std::ios::app);
    out << text;
  }
  void line(int n, const std::string& text, const char* stream = "stdout", const char* tag = "F") const {
    char time[64];
    std::snprintf(time, sizeof time, "2026-01-01T00:00:%02d.000000000Z", n);
    add(std::string(time) + " " + stream + " " + tag + " " + text + "\n");
  }
};

std::string read(const LogDir& dir, LogOptions options) {
  std::string out;
  run([&]() -> Task<void> {
    LogFollowers followers;
    LogSink sink = [&out](std::string_view text) -> Task<Status> {
      out += text;
      return []() -> Task<Status> { co_return Status(); }();
    };
    auto done = co_await read_log(dir.file(), options, [] { return false; }, sink, followers);
    CHECK(done.has_value());
  });
  return out;
}

}  // namespace

TEST_CASE("a CRI line is taken apart") {
  const auto line = parse_log_line("2026-01-01T00:00:01.5Z stderr P half a line\n");
  REQUIRE(line.has_value());
  CHECK(line->is_stderr);
  CHECK(line->partial);
  CHECK(line->text == "half a line");
  CHECK(parse_log_line("2026-01-01T00:00:01.5Z stdout F ")->text.empty());
  CHECK(parse_log_line("2026-01-01T00:00:01.5Z stdout F")->text.empty());
  CHECK_FALSE(parse_log_line("nonsense").has_value());
  CHECK_FALSE(parse_log_line("a b F x").has_value());
}

TEST_CASE("tail, since, limit, timestamps and streams") {
  LogDir dir;
  for (int i = 1; i <= 5; ++i) dir.line(i, "line" + std::to_string(i));
  CHECK(read(dir, {}) == "line1\nline2\nline3\nline4\nline5\n");
  LogOptions options;
  options.tail_lines = 2;
  CHECK(read(dir, options) == "line4\nline5\n");
  options.tail_lines = 0;
  CHECK(read(dir, options).empty());
  options.tail_lines = 100;
  CHECK(read(dir, options).size() == 30);
  options = {};
  options.since = parse_rfc3339("2026-01-01T00:00:04Z");
  CHECK(read(dir, options) == "line4\nline5\n");
  options = {};
  options.limit_bytes = 8;
  CHECK(read(dir, options) == "line1\nli");
  options = {};
  options.timestamps = true;
  options.tail_lines = 1;
  CHECK(read(dir, options) == "2026-01-01T00:00:05.000000000Z line5\n");
  dir.line(6, "half ", "stderr", "P");
  dir.line(6, "done", "stderr");
  options.tail_lines = 2;
  CHECK(read(dir, options) == "2026-01-01T00:00:06.000000000Z half done\n");
  options = {};
  options.stream = "Stderr";
  CHECK(read(dir, options) == "half done\n");
}

TEST_CASE("what is written while a log is read is not in the answer") {
  LogDir dir;
  for (int i = 1; i <= 3; ++i) dir.line(i, "line" + std::to_string(i));
  for (const std::optional<std::int64_t> tail : {std::optional<std::int64_t>(1), std::optional<std::int64_t>()}) {
    LogOptions options;
    options.tail_lines = tail;
    int pieces = 0;
    std::string out;
    run([&]() -> Task<void> {
      LogFollowers followers;
      LogSink sink = [&](std::string_view text) -> Task<Status> {
        out += text;
        if (++pieces < 10) dir.line(9, "late");
        return []() -> Task<Status> { co_return Status(); }();
      };
      CHECK((co_await read_log(dir.file(), options, [] { return false; }, sink, followers)).has_value());
    });
    CHECK(pieces == 1);
    CHECK(out == (tail ? "line3\n" : "line1\nline2\nline3\nlate\n"));
  }
}

TEST_CASE("a log that is a symlink is not read") {
  LogDir dir;
  fs::create_symlink("/etc/hostname", dir.file());
  run([&]() -> Task<void> {
    LogFollowers followers;
    LogSink sink = [](std::string_view) { return []() -> Task<Status> { co_return Status(); }(); };
    auto done = co_await read_log(dir.file(), {}, [] { return false; }, sink, followers);
    CHECK_FALSE(done.has_value());
  });
}

TEST_CASE("following: new lines, a rotation, and the container's end") {
  LogDir dir;
  dir.line(1, "one");
  std::string out;
  bool ended = false;
  bool running = true;
  run([&]() -> Task<void> {
    Executor executor = co_await boost::asio::this_coro::executor;
    TaskGroup group(executor);
    LogFollowers followers;
    auto reader = [](std::string path, std::string* text, bool* done, bool* alive, LogFollowers* f) -> Task<void> {
      LogOptions options;
      options.follow = true;
      LogSink sink = [text](std::string_view piece) {
        *text += piece;
        return []() -> Task<Status> { co_return Status(); }();
      };
      (void)co_await read_log(path, options, [alive] { return *alive; }, sink, *f);
      *done = true;
    };
    group.spawn("reader", reader(dir.file(), &out, &ended, &running, &followers));
    bool ok = co_await eventually([&] { return out == "one\n"; });
    CHECK(ok);
    dir.line(2, "two");
    ok = co_await eventually([&] { return out == "one\ntwo\n"; });
    CHECK(ok);
    CHECK(shift_logs(dir.file(), 3));
    dir.line(3, "three");
    ok = co_await eventually([&] { return out == "one\ntwo\nthree\n"; });
    CHECK(ok);
    dir.line(4, "last words");
    running = false;
    followers.wake();
    ok = co_await eventually([&] { return ended; });
    CHECK(ok);
    CHECK(out.ends_with("last words\n"));
    CHECK(followers.waiters.empty());
    co_await group.stop();
  });
}

TEST_CASE("a follower that is cancelled leaves nothing behind") {
  LogDir dir;
  dir.line(1, "one");
  run([&]() -> Task<void> {
    Executor executor = co_await boost::asio::this_coro::executor;
    TaskGroup group(executor);
    LogFollowers followers;
    auto reader = [](std::string path, LogFollowers* f) -> Task<void> {
      LogOptions options;
      options.follow = true;
      LogSink sink = [](std::string_view) { return []() -> Task<Status> { co_return Status(); }(); };
      (void)co_await read_log(path, options, [] { return true; }, sink, *f);
    };
    group.spawn("reader", reader(dir.file(), &followers));
    const bool ok = co_await eventually([&] { return followers.waiters.size() == 1; });
    CHECK(ok);
    co_await sleep_for(std::chrono::milliseconds(20));
    co_await group.stop();
    CHECK(followers.waiters.empty());
  });
}

TEST_CASE("rotation keeps so many files") {
  LogDir dir;
  for (int i = 0; i < 6; ++i) {
    dir.add("file " + std::to_string(i));
    CHECK(shift_logs(dir.file(), 3));
  }
  CHECK_FALSE(fs::exists(dir.file()));
  CHECK(fs::exists(dir.file() + ".1"));
  CHECK(fs::exists(dir.file() + ".2"));
  CHECK_FALSE(fs::exists(dir.file() + ".3"));
  dir.add("12345");
  CHECK(logs_over({{"s", "c", dir.file()}}, 5).size() == 1);
  CHECK(logs_over({{"s", "c", dir.file()}}, 6).empty());
}

TEST_CASE("the tail of a log as termination message") {
  LogDir dir;
  for (int i = 0; i < 100; ++i) dir.line(i % 60, "l" + std::to_string(i));
  const std::string text = tail_text(dir.file(), 2048, 80);
  CHECK(text.starts_with("l20\n"));
  CHECK(text.ends_with("l99\n"));
  CHECK(tail_text(dir.file(), 8, 80) == "l98\nl99\n");
  CHECK(tail_text("/nonexistent/x", 10, 10).empty());
}
