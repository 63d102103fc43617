#include "spec/env_file.h"

#include "brume/base/json.h"
#include "brume/base/strings.h"

namespace brume::node {

namespace {

constexpr std::string_view kBlanks = " \t";

std::string_view skip_blanks(std::string_view text) {
  const auto at = text.find_first_not_of(kBlanks);
  return at == std::string_view::npos ? std::string_view() : text.substr(at);
}

/// Reads lines one by one, each without its end.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}
  std::optional<std::string_view> next() {
    if (rest_.empty()) return std::nullopt;
    ++number_;
    const auto end = rest_.find('\n');
    std::string_view line = rest_.substr(0, end);
    rest_ = end == std::string_view::npos ? std::string_view() : rest_.substr(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
  }
  [[nodiscard]] std::unexpected<Error> wrong(const char* what) const {
    return fail(Code::kInvalid, "invalid environment variable format at line " + std::to_string(number_) + ": " + what);
  }

 private:
  std::string_view rest_;
  int number_ = 0;
};

// What stands between the quotes; `first` begins after the opening one.
Result<std::string> quoted(Lines& lines, std::string_view first) {
  std::string value;
  for (std::string_view line = first;;) {
    const auto end = line.find('\'');
    value += line.substr(0, end);
    if (end != std::string_view::npos) {
      const std::string_view after = skip_blanks(line.substr(end + 1));
      if (!after.empty() && !after.starts_with('#')) return lines.wrong("unexpected content after closing quote");
      return value;
    }
    value += '\n';
    const auto next = lines.next();
    if (!next) return lines.wrong("unclosed single quote");
    line = *next;
  }
}

}  // namespace

EnvFiles named_env_files(const Json& container) {
  EnvFiles out;
  for (const Json& variable : at(container, "env")) {
    const Json& ref = at(variable, "valueFrom", "fileKeyRef");
    if (ref.is_object()) out.emplace(std::pair(str(ref, "volumeName"), str(ref, "path")), std::nullopt);
  }
  return out;
}

Result<std::optional<std::string>> env_file_value(std::string_view text, std::string_view key) {
  Lines lines(text);
  while (const auto next = lines.next()) {
    const std::string_view line = skip_blanks(*next);
    if (line.empty() || line.starts_with('#')) continue;
    const auto equals = line.find('=');
    if (equals == std::string_view::npos) return lines.wrong("missing '='");
    const std::string_view name = line.substr(0, equals);
    if (name.empty()) return lines.wrong("empty variable name");
    if (kBlanks.find(name.back()) != std::string_view::npos) {
      return lines.wrong("whitespace before '=' is not allowed");
    }
    const std::string_view rest = line.substr(equals + 1);
    if (!rest.empty() && kBlanks.find(rest.front()) != std::string_view::npos) {  // as in a shell: it is empty
      if (name == key) return std::optional<std::string>();
      continue;
    }
    if (!rest.starts_with('\'')) return lines.wrong("value must be enclosed in single quotes");
    BRUME_TRY(std::string value, quoted(lines, rest.substr(1)));
    if (name == key) return value.empty() ? std::nullopt : std::optional(std::move(value));
  }
  return std::optional<std::string>();
}

}  // namespace brume::node
