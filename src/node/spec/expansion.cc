#include "spec/expansion.h"

namespace brume::node {

std::string expand(std::string_view text, const VariableLookup& lookup) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    const char next = text[i + 1];
    if (next == '$') {
      out += '$';
      ++i;
      continue;
    }
    if (next != '(') {
      out += '$';
      continue;
    }
    const std::size_t close = text.find(')', i + 2);
    if (close == std::string_view::npos) {
      out += "$(";
      ++i;
      continue;
    }
    const std::string_view name = text.substr(i + 2, close - i - 2);
    if (auto value = lookup(name)) {
      out += *value;
    } else {
      out.append(text.substr(i, close + 1 - i));
    }
    i = close;
  }
  return out;
}

}  // namespace brume::node
