// TZif files: any bytes are refused or give a zone that answers, with local times that come back near where they began.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "brume/base/time_zone.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace std::chrono;
  const auto zone = brume::TimeZone::parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!zone) return 0;
  for (const std::int64_t when :
       {-4'000'000'000LL, 0LL, 1'000'000'000LL, 1'767'225'600LL, 1'774'746'000LL, 4'102'444'800LL}) {
    const sys_seconds time{seconds(when)};
    const auto period = (*zone)->at(time);
    if (abs(period.offset) > hours(24 * 8)) std::abort();
    const auto back = (*zone)->to_sys((*zone)->to_local(time));
    if (abs(back - time) > hours(24 * 16)) std::abort();
    static_cast<void>((*zone)->format_rfc3339(time));
  }
  return 0;
}
