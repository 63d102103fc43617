#include "scan.h"

#include <cstring>

namespace brume::apiserver {

namespace {

// Index just past the string that starts at json[at] == '"'.
std::size_t skip_string(std::string_view json, std::size_t at) {
  for (++at; at < json.size(); ++at) {
    const void* quote = std::memchr(json.data() + at, '"', json.size() - at);
    if (quote == nullptr) return json.size();
    const auto end = static_cast<std::size_t>(static_cast<const char*>(quote) - json.data());
    std::size_t slashes = 0;
    while (end - slashes > at && json[end - slashes - 1] == '\\') ++slashes;
    at = end;
    if (slashes % 2 == 0) return at + 1;
  }
  return json.size();
}

// Index just past the value that starts at json[at].
std::size_t skip_value(std::string_view json, std::size_t at) {
  if (at >= json.size()) return json.size();
  if (json[at] == '"') return skip_string(json, at);
  if (json[at] == '{' || json[at] == '[') {
    std::size_t depth = 0;
    while (at < json.size()) {
      const char c = json[at];
      if (c == '"') {
        at = skip_string(json, at);
        continue;
      }
      if (c == '{' || c == '[') ++depth;
      if ((c == '}' || c == ']') && --depth == 0) return at + 1;
      ++at;
    }
    return json.size();
  }
  while (at < json.size() && json[at] != ',' && json[at] != '}' && json[at] != ']') ++at;
  return at;
}

std::string_view member(std::string_view json, std::string_view key) {
  if (json.size() < 2 || json[0] != '{') return {};
  std::size_t at = 1;
  while (at < json.size() && json[at] == '"') {
    const std::size_t key_end = skip_string(json, at);
    const std::string_view name = json.substr(at + 1, key_end - at - 2);
    if (key_end >= json.size() || json[key_end] != ':') return {};
    const std::size_t value = key_end + 1;
    const std::size_t end = skip_value(json, value);
    if (name == key) return json.substr(value, end - value);
    if (end >= json.size() || json[end] != ',') return {};
    at = end + 1;
  }
  return {};
}

}  // namespace

std::string_view scan_raw(std::string_view json, std::initializer_list<std::string_view> path) {
  for (const std::string_view key : path) json = member(json, key);
  return json;
}

}  // namespace brume::apiserver
