// RateHistory: rates of counters that only grow, from readings that were taken when somebody asked.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

#include "brume/base/time.h"

namespace brume {

/// Keeps the readings of the last two minutes, one in five seconds at most: whoever asks now and then is given the rate
/// since then, and whoever asks often is not given the noise of a moment. Owner: one loop.
class RateHistory {
 public:
  struct Reading {
    WallTime at;
    std::uint64_t total = 0;
  };
  struct Rate {
    double per_second = 0;  ///< of the counter's units
    std::chrono::nanoseconds window{};
  };

  /// The rate up to `now` since the newest reading that is ten seconds old, or else since the oldest; without any,
  /// since `began`, when the counter was zero, if that was within the last two minutes. nullopt: nothing is known yet.
  [[nodiscard]] std::optional<Rate> rate(const std::string& key, const Reading& now,
                                         std::optional<WallTime> began = {}) const;
  /// Readings taken at one time, by key.
  void add(WallTime at, std::map<std::string, Reading> readings);
  void clear() { samples_.clear(); }

 private:
  struct Sample {
    WallTime at;
    std::map<std::string, Reading> readings;
  };
  std::deque<Sample> samples_;  ///< oldest first
};

}  // namespace brume
