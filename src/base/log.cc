#include "brume/base/log.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>

#include "brume/base/strings.h"
#include "brume/base/time.h"

namespace brume::log {

namespace {

std::atomic<Level> g_level{Level::kInfo};
std::atomic<Format> g_format{Format::kText};

constexpr std::string_view name_of(Level level) {
  switch (level) {
    case Level::kDebug: return "debug";
    case Level::kInfo: return "info";
    case Level::kWarn: return "warn";
    case Level::kError: return "error";
  }
  return "error";
}

bool is_bare(std::string_view value) {
  if (value.empty()) return false;
  for (const char c : value) {
    if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f) return false;
  }
  return true;
}

}  // namespace

void configure(Level level, Format format) {
  g_level = level;
  g_format = format;
}

bool enabled(Level level) { return level >= g_level.load(std::memory_order_relaxed); }

std::optional<Level> level_from(std::string_view name) {
  for (const Level level : {Level::kDebug, Level::kInfo, Level::kWarn, Level::kError}) {
    if (name_of(level) == name) return level;
  }
  return std::nullopt;
}

void write(Level level, std::string_view message, std::initializer_list<Field> fields) {
  if (!enabled(level)) return;
  std::string line;
  const std::string now = format_rfc3339_micro(std::chrono::system_clock::now());
  if (g_format == Format::kJson) {
    line.append("{\"time\":\"").append(now).append("\",\"level\":\"").append(name_of(level)).append("\",\"msg\":");
    append_json_string(line, message);
    for (const auto& field : fields) {
      line.push_back(',');
      append_json_string(line, field.key);
      line.push_back(':');
      append_json_string(line, field.value);
    }
    line.append("}\n");
  } else {
    line.append(now).append(" ").append(name_of(level)).append(" ").append(message);
    for (const auto& field : fields) {
      line.append(" ").append(field.key).append("=");
      if (is_bare(field.value)) {
        line.append(field.value);
      } else {
        append_json_string(line, field.value);
      }
    }
    line.push_back('\n');
  }
  // Nothing useful can be done when standard error is gone.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace brume::log
