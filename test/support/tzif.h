// TZif files (RFC 9636) for tests, so that they do not depend on the machine's zone database.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace brume::test {

struct TzifKind {
  std::int32_t offset = 0;  ///< seconds east of UTC
  bool dst = false;
};
struct TzifTransition {
  std::int64_t when = 0;  ///< seconds since 1970
  std::uint8_t kind = 0;
};

/// A file of version 2, or of version 1 when `wide` is not set: the old form has 32 bits and no footer.
inline std::string tzif(const std::vector<TzifKind>& kinds, const std::vector<TzifTransition>& transitions,
                        std::string_view footer = {}, bool wide = true) {
  const auto number = [](std::int64_t value, int bytes) {
    std::string out;
    for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
    return out;
  };
  const auto block = [&](char version, int time_size, bool empty) {
    const auto count = empty ? std::size_t{0} : transitions.size();
    std::string out = "TZif" + std::string(1, version) + std::string(15, '\0') + number(0, 4) + number(0, 4) +
                      number(0, 4) + number(static_cast<std::int64_t>(count), 4) +
                      number(empty ? 1 : static_cast<std::int64_t>(kinds.size()), 4) + number(4, 4);
    if (empty) return out + std::string(6, '\0') + std::string("LMT\0", 4);
    for (const auto& t : transitions) out += number(t.when, time_size);
    for (const auto& t : transitions) out += static_cast<char>(t.kind);
    for (const auto& kind : kinds) out += number(kind.offset, 4) + static_cast<char>(kind.dst ? 1 : 0) + '\0';
    return out + std::string("LMT\0", 4);
  };
  if (!wide) return block('\0', 4, false);
  return block('2', 4, true) + block('2', 8, false) + "\n" + std::string(footer) + "\n";
}

/// Central Europe since 1996: +1, and +2 from the last Sunday of March to that of October.
inline std::string tzif_berlin() { return tzif({{3600, false}}, {}, "CET-1CEST,M3.5.0,M10.5.0/3"); }
/// New York since 2007.
inline std::string tzif_new_york() { return tzif({{-18000, false}}, {}, "EST5EDT,M3.2.0,M11.1.0"); }
/// Sao Paulo's last summer times, which began and ended at midnight.
inline std::string tzif_sao_paulo() {
  return tzif({{-7200, true}, {-10800, false}}, {{1508036400, 0}, {1518919200, 1}, {1541300400, 0}, {1550368800, 1}},
              "<-03>3");
}

}  // namespace brume::test
