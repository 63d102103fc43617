#include "stream/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "brume/base/strings.h"
#include "brume/linux/fd.h"

namespace brume::node {

std::optional<LogLine> parse_log_line(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  const auto first = line.find(' ');
  if (first == std::string_view::npos) return std::nullopt;
  const auto second = line.find(' ', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  LogLine out;
  out.time = line.substr(0, first);
  const std::string_view stream = line.substr(first + 1, second - first - 1);
  if (stream != "stdout" && stream != "stderr") return std::nullopt;
  out.is_stderr = stream == "stderr";
  auto third = line.find(' ', second + 1);
  if (third == std::string_view::npos) third = line.size();
  // Tags are colon-separated; the first says full or partial.
  const std::string_view tag = line.substr(second + 1, third - second - 1);
  if (!tag.starts_with('P') && !tag.starts_with('F')) return std::nullopt;
  out.partial = tag.starts_with('P');
  out.text = third < line.size() ? line.substr(third + 1) : std::string_view();
  return out;
}

std::uint64_t tail_offset(int fd, std::uint64_t size, std::int64_t lines) {
  if (lines <= 0) return size;
  constexpr std::uint64_t kBlock = 64 << 10;
  std::string block(kBlock, '\0');
  std::uint64_t end = size;
  std::int64_t left = lines + 1;  // the break that ends the last line is met first
  bool last_byte = true;
  while (end > 0) {
    const std::uint64_t begin = end > kBlock ? end - kBlock : 0;
    const ssize_t n = ::pread(fd, block.data(), end - begin, static_cast<off_t>(begin));
    if (n <= 0) return 0;
    for (ssize_t i = n - 1; i >= 0; --i) {
      const bool is_break = block[static_cast<std::size_t>(i)] == '\n';
      if (last_byte && !is_break) --left;  // an unfinished last line counts
      last_byte = false;
      if (is_break && --left == 0) return begin + static_cast<std::uint64_t>(i) + 1;
    }
    end = begin;
  }
  return 0;
}

std::string tail_text(const std::string& path, std::size_t max_bytes, std::size_t max_lines) {
  auto fd = linux_os::open_fd(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  struct stat st = {};
  if (!fd || ::fstat(fd->get(), &st) != 0 || !S_ISREG(st.st_mode)) return {};
  const auto size = static_cast<std::uint64_t>(st.st_size);
  // Time, stream and tag take some 50 bytes of each line.
  const std::uint64_t budget = max_bytes + max_lines * 64;
  const std::uint64_t begin =
      std::max(tail_offset(fd->get(), size, static_cast<std::int64_t>(max_lines)), size > budget ? size - budget : 0);
  std::string raw(size - begin, '\0');
  const ssize_t n = ::pread(fd->get(), raw.data(), raw.size(), static_cast<off_t>(begin));
  if (n <= 0) return {};
  raw.resize(static_cast<std::size_t>(n));
  std::string text;
  for (const std::string_view line : split(raw, '\n')) {
    const auto parsed = parse_log_line(line);
    if (!parsed) continue;
    text += parsed->text;
    if (!parsed->partial) text += '\n';
  }
  return text.size() <= max_bytes ? text : text.substr(text.size() - max_bytes);
}

}  // namespace brume::node
