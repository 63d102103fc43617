#include "cmd/commands.h"

#include <algorithm>
#include <cstdio>

namespace brume::cmd {

int report(const Error& error) {
  std::fprintf(stderr, "brume: %s\n", error.message.c_str());
  return error.code == Code::kInvalid ? 2 : 1;
}

bool wants_help(const std::vector<std::string>& arguments) {
  return std::ranges::any_of(arguments, [](const std::string& a) { return a == "--help" || a == "-h"; });
}

}  // namespace brume::cmd
