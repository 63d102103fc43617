#include "brume/node/eviction_thresholds.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "brume/api/quantity.h"
#include "brume/base/strings.h"

namespace brume::node {

namespace {

constexpr auto kSignals = std::to_array<std::string_view>({"memory.available", "nodefs.available", "nodefs.inodesFree",
                                                           "imagefs.available", "imagefs.inodesFree", "pid.available"});

Result<EvictionThreshold> parse_one(std::string_view text) {
  const auto less = text.find('<');
  if (less == std::string_view::npos) return fail(Code::kInvalid, std::string(text) + ": not SIGNAL<AMOUNT");
  EvictionThreshold out;
  out.signal = trim(text.substr(0, less));
  const std::string_view value = trim(text.substr(less + 1));
  if (std::ranges::find(kSignals, out.signal) == kSignals.end()) {
    return fail(Code::kInvalid, out.signal + ": no such signal; there are " +
                                    join(std::vector<std::string>(kSignals.begin(), kSignals.end()), ", "));
  }
  if (out.signal.starts_with("imagefs.")) out.signal.replace(0, 5, "node");  // images and pods share a file system
  if (value.ends_with('%')) {
    const char* end = value.data() + value.size() - 1;
    const auto [stopped, error] = std::from_chars(value.data(), end, out.percent);
    if (error != std::errc() || stopped != end || !(out.percent >= 0 && out.percent <= 100)) {
      return fail(Code::kInvalid, std::string(text) + ": a percentage goes from 0% to 100%");
    }
    return out;
  }
  const auto amount = api::Quantity::parse(value);
  if (!amount || amount->sign() < 0) {
    return fail(Code::kInvalid, std::string(text) + ": not an amount such as 100Mi, nor a percentage such as 5%");
  }
  out.amount = amount->value();
  return out;
}

}  // namespace

std::int64_t EvictionThreshold::least(std::int64_t capacity) const {
  return percent > 0 ? static_cast<std::int64_t>(static_cast<double>(capacity) * percent / 100) : amount;
}

std::vector<EvictionThreshold> default_eviction_thresholds() {
  return {{"memory.available", 100LL << 20},
          {.signal = "nodefs.available", .percent = 5},
          {.signal = "nodefs.inodesFree", .percent = 5},
          {.signal = "pid.available", .percent = 5}};
}

Result<std::vector<EvictionThreshold>> parse_eviction_thresholds(std::string_view text) {
  std::vector<EvictionThreshold> out;
  if (trim(text).empty()) return out;
  for (const std::string_view part : split(text, ',')) {
    BRUME_TRY(EvictionThreshold one, parse_one(trim(part)));
    out.push_back(std::move(one));
  }
  return out;
}

}  // namespace brume::node
