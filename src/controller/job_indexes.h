// Sets of completion indexes as ordered intervals: the form of a Job's status.completedIndexes and
// status.failedIndexes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace brume::controller {

class Indexes {
 public:
  struct Interval {
    std::int64_t first = 0;
    std::int64_t last = 0;
  };

  Indexes() = default;
  /// From ordered indexes, each once or several times.
  explicit Indexes(const std::vector<std::int64_t>& ordered);
  /// From text such as "1,3-5,7". Intervals that cannot be read are left out, as are indexes from `completions` on.
  static Indexes parse(std::string_view text, std::int64_t completions);

  [[nodiscard]] Indexes merged(const Indexes& other) const;
  [[nodiscard]] std::int64_t total() const;
  [[nodiscard]] bool has(std::int64_t index) const;
  /// "1,3-5,7"; two neighbours are written "1,2".
  [[nodiscard]] std::string text() const;
  [[nodiscard]] const std::vector<Interval>& intervals() const { return intervals_; }
  [[nodiscard]] bool empty() const { return intervals_.empty(); }
  /// How many indexes both sets have.
  [[nodiscard]] std::int64_t overlap(const Indexes& other) const;
  /// The first `count` indexes below `completions` that are not in the set.
  [[nodiscard]] std::vector<std::int64_t> first_missing(std::int64_t count, std::int64_t completions) const;

 private:
  void append(Interval interval);
  std::vector<Interval> intervals_;
};

}  // namespace brume::controller
