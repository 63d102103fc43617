#include "job_indexes.h"

#include <algorithm>

#include "brume/base/strings.h"

namespace brume::controller {

Indexes::Indexes(const std::vector<std::int64_t>& ordered) {
  for (const auto index : ordered) append({index, index});
}

// Intervals come in order of their first index.
void Indexes::append(Interval interval) {
  if (intervals_.empty() || interval.first > intervals_.back().last + 1) {
    intervals_.push_back(interval);
  } else {
    intervals_.back().last = std::max(intervals_.back().last, interval.last);
  }
}

Indexes Indexes::parse(std::string_view text, std::int64_t completions) {
  Indexes out;
  if (text.empty()) return out;
  for (const auto part : split(text, ',')) {
    const auto limits = split(part, '-');
    const auto first = parse_int(limits[0]);
    if (!first) continue;
    if (*first >= completions) break;
    auto last = first;
    if (limits.size() > 1) {
      last = parse_int(limits[1]);
      if (!last) continue;
      last = std::min(*last, completions - 1);
    }
    out.append({*first, *last});
  }
  return out;
}

Indexes Indexes::merged(const Indexes& other) const {
  std::vector<Interval> all;
  all.reserve(intervals_.size() + other.intervals_.size());
  std::merge(intervals_.begin(), intervals_.end(), other.intervals_.begin(), other.intervals_.end(),
             std::back_inserter(all), [](const Interval& a, const Interval& b) { return a.first < b.first; });
  Indexes out;
  for (const auto& interval : all) out.append(interval);
  return out;
}

std::int64_t Indexes::total() const {
  std::int64_t count = 0;
  for (const auto& interval : intervals_) count += interval.last - interval.first + 1;
  return count;
}

bool Indexes::has(std::int64_t index) const {
  const auto it = std::lower_bound(intervals_.begin(), intervals_.end(), index,
                                   [](const Interval& interval, std::int64_t i) { return interval.last < i; });
  return it != intervals_.end() && it->first <= index;
}

std::string Indexes::text() const {
  std::string out;
  for (const auto& interval : intervals_) {
    if (!out.empty()) out += ',';
    out += std::to_string(interval.first);
    if (interval.last == interval.first) continue;
    out += interval.last == interval.first + 1 ? ',' : '-';
    out += std::to_string(interval.last);
  }
  return out;
}

std::int64_t Indexes::overlap(const Indexes& other) const {
  std::int64_t common = 0;
  std::size_t i = 0, j = 0;
  while (i < intervals_.size() && j < other.intervals_.size()) {
    const auto& a = intervals_[i];
    const auto& b = other.intervals_[j];
    common += std::max<std::int64_t>(0, std::min(a.last, b.last) - std::max(a.first, b.first) + 1);
    if (a.last <= b.last) ++i;
    if (b.last <= a.last) ++j;
  }
  return common;
}

std::vector<std::int64_t> Indexes::first_missing(std::int64_t count, std::int64_t completions) const {
  std::vector<std::int64_t> out;
  std::int64_t candidate = 0;
  const auto take_until = [&](std::int64_t end) {
    for (; candidate < end && static_cast<std::int64_t>(out.size()) < count; ++candidate) out.push_back(candidate);
  };
  for (const auto& interval : intervals_) {
    take_until(std::min(interval.first, completions));
    candidate = std::max(candidate, interval.last + 1);
  }
  take_until(completions);
  return out;
}

}  // namespace brume::controller
