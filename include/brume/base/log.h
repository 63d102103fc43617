// Structured logging to standard error, as text or JSON lines. Thread-safe; one write(2) a line.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace brume::log {

enum class Level { kDebug, kInfo, kWarn, kError };
enum class Format { kText, kJson };

/// One key=value of a line. Values are copied; numbers are given as std::to_string.
struct Field {
  std::string_view key;
  std::string value;
};

/// Sets what is printed and how, for the process. Call before threads start.
void configure(Level level, Format format);
[[nodiscard]] bool enabled(Level level);
[[nodiscard]] std::optional<Level> level_from(std::string_view name);  ///< debug, info, warn, error

void write(Level level, std::string_view message, std::initializer_list<Field> fields);

inline void debug(std::string_view m, std::initializer_list<Field> f = {}) { write(Level::kDebug, m, f); }
inline void info(std::string_view m, std::initializer_list<Field> f = {}) { write(Level::kInfo, m, f); }
inline void warn(std::string_view m, std::initializer_list<Field> f = {}) { write(Level::kWarn, m, f); }
inline void error(std::string_view m, std::initializer_list<Field> f = {}) { write(Level::kError, m, f); }

}  // namespace brume::log
