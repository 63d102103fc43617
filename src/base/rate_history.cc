#include "brume/base/rate_history.h"

namespace brume {

namespace {

constexpr auto kWindow = std::chrono::seconds(10);
constexpr auto kSpacing = std::chrono::seconds(5);
constexpr auto kKeep = std::chrono::minutes(2);
/// The kernel's clocks tick in ten milliseconds on some machines: shorter windows say nothing.
constexpr auto kShortest = std::chrono::milliseconds(500);

}  // namespace

std::optional<RateHistory::Rate> RateHistory::rate(const std::string& key, const Reading& now,
                                                   std::optional<WallTime> began) const {
  std::optional<Reading> base;
  for (const Sample& sample : samples_) {
    const auto found = sample.readings.find(key);
    if (found == sample.readings.end()) continue;
    const bool old_enough = found->second.at + kWindow <= now.at;
    if (!base || old_enough) base = found->second;
    if (!old_enough) break;
  }
  if (!base && began && now.at - *began <= kKeep) base = Reading{*began, 0};
  if (!base || now.at - base->at < kShortest || now.total < base->total) return std::nullopt;
  const auto window = std::chrono::duration_cast<std::chrono::nanoseconds>(now.at - base->at);
  const double seconds = std::chrono::duration<double>(window).count();
  return Rate{static_cast<double>(now.total - base->total) / seconds, window};
}

void RateHistory::add(WallTime at, std::map<std::string, Reading> readings) {
  // A clock that was set back would keep readings of its future for ever.
  while (!samples_.empty() && samples_.back().at > at) samples_.pop_back();
  while (!samples_.empty() && samples_.front().at + kKeep < at) samples_.pop_front();
  if (samples_.empty() || samples_.back().at + kSpacing <= at) samples_.push_back({at, std::move(readings)});
}

}  // namespace brume
