// Rates of counters, and Go's durations.
#include "brume/base/go_duration.h"
#include "brume/base/rate_history.h"
#include "catch.h"

using namespace brume;
using namespace std::chrono_literals;

namespace {

const WallTime kStart{1'800'000'000s};

RateHistory::Reading reading(std::chrono::milliseconds after, std::uint64_t total) { return {kStart + after, total}; }

void add(RateHistory& history, std::chrono::milliseconds after, std::uint64_t total) {
  history.add(kStart + after, {{"a", reading(after, total)}});
}

}  // namespace

TEST_CASE("a rate needs two readings, or a beginning that is not long ago") {
  RateHistory history;
  CHECK_FALSE(history.rate("a", reading(0s, 100)));
  CHECK_FALSE(history.rate("a", reading(0s, 100), kStart - 3min));
  const auto young = history.rate("a", reading(0s, 100), kStart - 20s);
  REQUIRE(young);
  CHECK(young->per_second == 5);
  CHECK(young->window == 20s);
  add(history, 0s, 100);
  CHECK_FALSE(history.rate("a", reading(400ms, 200)));  // too short to say anything
  const auto first = history.rate("a", reading(1s, 200));
  REQUIRE(first);
  CHECK(first->per_second == 100);
  CHECK(first->window == 1s);
  CHECK_FALSE(history.rate("b", reading(1s, 200)));
  CHECK_FALSE(history.rate("a", reading(1s, 99)));  // no counter goes back
}

TEST_CASE("a rate covers ten seconds where it can") {
  RateHistory history;
  for (int second = 0; second <= 30; ++second) add(history, std::chrono::seconds(second), second * 10);
  const auto rate = history.rate("a", reading(31s, 410));
  REQUIRE(rate);
  CHECK(rate->window == 11s);  // since second 20: readings are kept every five seconds
  CHECK(rate->per_second == 210.0 / 11);
  // What a counter did before its first reading is not asked once there is one.
  history.add(kStart + 36s, {{"new", reading(36s, 50)}});
  const auto grown = history.rate("new", reading(38s, 80), kStart + 30s);
  REQUIRE(grown);
  CHECK(grown->window == 2s);
  CHECK(grown->per_second == 15);
}

TEST_CASE("old readings are forgotten, and so are those of a future that a clock was set back from") {
  RateHistory history;
  add(history, 0s, 0);
  add(history, 3min, 100);
  CHECK(history.rate("a", reading(3min + 1s, 200))->window == 1s);
  add(history, 1min, 20);
  CHECK(history.rate("a", reading(1min + 1s, 40))->per_second == 20);
}

TEST_CASE("Go's durations are read and written") {
  struct Case {
    const char* text;
    std::chrono::nanoseconds value;
  };
  for (const Case& k : {Case{"0s", 0ns}, Case{"500ms", 500ms}, Case{"15.034s", 15034ms}, Case{"1m0.5s", 60500ms},
                        Case{"2h0m0s", 2h}, Case{"26h3m1s", 26h + 3min + 1s}, Case{"-1.5s", -1500ms}}) {
    INFO(k.text);
    CHECK(format_go_duration(k.value) == k.text);
    CHECK(parse_go_duration(k.text) == k.value);
  }
  CHECK(parse_go_duration("1.5h") == 90min);
  CHECK(parse_go_duration("0") == 0ns);
  CHECK(parse_go_duration("3us") == 3us);
  CHECK(parse_go_duration("\u00b5s") == std::nullopt);
  CHECK(parse_go_duration("2\u00b5s") == 2us);
  CHECK(parse_go_duration(".5s") == 500ms);
  for (const char* bad : {"", "s", "5", "1d", "1 s", "-", "1s2", "9999999999h"}) {
    INFO(bad);
    CHECK_FALSE(parse_go_duration(bad));
  }
}
