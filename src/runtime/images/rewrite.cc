#include <regex.h>

#include <array>
#include <memory>

#include "brume/runtime/images.h"

namespace brume::runtime {

namespace {

constexpr std::size_t kGroups = 10;  // $0 to $9
using Groups = std::array<regmatch_t, kGroups>;

std::string_view group_of(const char* text, const Groups& groups, std::size_t i) {
  if (groups[i].rm_so < 0) return {};
  return {text + groups[i].rm_so, static_cast<std::size_t>(groups[i].rm_eo - groups[i].rm_so)};
}

// $1 and ${1} are groups, $$ is a dollar.
void append_replacement(std::string& out, std::string_view replacement, const char* text, const Groups& groups) {
  for (std::size_t i = 0; i < replacement.size(); ++i) {
    std::string_view rest = replacement.substr(i);
    if (!rest.starts_with('$') || rest.size() == 1) {
      out += rest[0];
      continue;
    }
    const bool braced = rest.size() >= 4 && rest[1] == '{' && rest[3] == '}';
    const char digit = braced ? rest[2] : rest[1];
    if (digit >= '0' && digit <= '9') {
      out += group_of(text, groups, static_cast<std::size_t>(digit - '0'));
    } else {
      out += rest[1];
      i += 1;
      continue;
    }
    i += braced ? 3 : 1;
  }
}

}  // namespace

Result<std::string> rewrite_repository(const RegistryMirror& mirror, const std::string& repository) {
  for (const auto& [pattern, replacement] : mirror.rewrites) {
    regex_t compiled;
    if (const int code = ::regcomp(&compiled, pattern.c_str(), REG_EXTENDED); code != 0) {
      std::array<char, 128> why{};
      ::regerror(code, &compiled, why.data(), why.size());
      return fail(Code::kInvalid, "\"" + pattern + "\": " + why.data());
    }
    const std::unique_ptr<regex_t, decltype(&::regfree)> freed_at_end(&compiled, &::regfree);
    std::string out;
    Groups groups{};
    const char* at = repository.c_str();
    bool matched = false;
    while (::regexec(&compiled, at, kGroups, groups.data(), matched ? REG_NOTBOL : 0) == 0) {
      matched = true;
      out.append(at, static_cast<std::size_t>(groups[0].rm_so));
      append_replacement(out, replacement, at, groups);
      at += groups[0].rm_eo;
      if (groups[0].rm_eo != groups[0].rm_so) continue;
      if (*at == '\0') break;
      out += *at++;  // an empty match stands before this one
    }
    if (matched) return out + at;
  }
  return repository;
}

}  // namespace brume::runtime
