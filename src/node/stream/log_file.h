// Container logs: the CRI line format, and reading back from the end of a file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/time.h"

namespace brume::node {

/// One line of a log in CRI format: "<RFC 3339 nano> stdout|stderr F|P <text>". Views into the line given.
struct LogLine {
  std::string_view time;
  bool is_stderr = false;
  bool partial = false;   ///< P: the text goes on in the next line of this stream
  std::string_view text;  ///< without the line break
};
/// nullopt when the line is not of that form.
[[nodiscard]] std::optional<LogLine> parse_log_line(std::string_view line);

/// Where in `path` the last `lines` full lines begin; 0 when there are fewer. Blocks.
[[nodiscard]] std::uint64_t tail_offset(int fd, std::uint64_t size, std::int64_t lines);

/// The last output of a container for its termination message: at most so many bytes and lines. Blocks.
[[nodiscard]] std::string tail_text(const std::string& path, std::size_t max_bytes, std::size_t max_lines);

}  // namespace brume::node
