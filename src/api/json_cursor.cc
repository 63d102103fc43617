#include "api/json_cursor.h"

#include <array>

#include "brume/base/strings.h"

namespace brume::api {

namespace {

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

// Where the nesting of a value can change.
bool is_structural(char c) {
  static constexpr auto kTable = [] {
    std::array<bool, 256> table{};
    for (const char one : {'"', '{', '}', '[', ']'}) table[static_cast<unsigned char>(one)] = true;
    return table;
  }();
  return kTable[static_cast<unsigned char>(c)];
}

void append_utf8(std::string& out, std::uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 63));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 63));
    out += static_cast<char>(0x80 | (code & 63));
  } else {
    out += static_cast<char>(0xF0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 63));
    out += static_cast<char>(0x80 | (code >> 6 & 63));
    out += static_cast<char>(0x80 | (code & 63));
  }
}

// The four digits after \u at `at`, or nothing.
std::optional<std::uint32_t> hex4(std::string_view text, std::size_t at) {
  if (at + 4 > text.size()) return std::nullopt;
  std::uint32_t value = 0;
  for (std::size_t i = at; i < at + 4; ++i) {
    char c = text[i];
    std::uint32_t digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<std::uint32_t>(c - '0');
    } else if ((c | 32) >= 'a' && (c | 32) <= 'f') {
      digit = static_cast<std::uint32_t>((c | 32) - 'a' + 10);
    } else {
      return std::nullopt;
    }
    value = value << 4 | digit;
  }
  return value;
}

// Unescapes the \uXXXX at `at` (after the u), with its low surrogate; returns how many characters it took, 0 if bad.
std::size_t unescape_unicode(std::string& out, std::string_view raw, std::size_t at) {
  auto code = hex4(raw, at);
  if (!code) return 0;
  if (*code >= 0xD800 && *code < 0xDC00 && raw.substr(at + 4, 2) == "\\u") {
    auto low = hex4(raw, at + 6);
    if (low && *low >= 0xDC00 && *low < 0xE000) {
      append_utf8(out, 0x10000 + ((*code - 0xD800) << 10) + (*low - 0xDC00));
      return 10;
    }
  }
  append_utf8(out, *code >= 0xD800 && *code < 0xE000 ? 0xFFFD : *code);
  return 4;
}

std::optional<std::string> unescape(std::string_view raw) {
  std::string out;
  out.reserve(raw.size());
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\\') {
      out += raw[i];
      continue;
    }
    if (++i >= raw.size()) return std::nullopt;
    switch (raw[i]) {
      case 'n': out += '\n'; break;
      case 't': out += '\t'; break;
      case 'r': out += '\r'; break;
      case 'b': out += '\b'; break;
      case 'f': out += '\f'; break;
      case 'u': {
        auto taken = unescape_unicode(out, raw, i + 1);
        if (taken == 0) return std::nullopt;
        i += taken;
        break;
      }
      default: out += raw[i];
    }
  }
  return out;
}

}  // namespace

char JsonCursor::peek() {
  while (pos_ < text_.size() && is_space(text_[pos_])) ++pos_;
  return pos_ < text_.size() ? text_[pos_] : '\0';
}

bool JsonCursor::eat(char c) {
  if (peek() != c || pos_ >= text_.size()) return false;
  ++pos_;
  return true;
}

std::string_view JsonCursor::raw_string() {
  if (!eat('"')) return stop(), std::string_view();
  const auto begin = pos_;
  while (true) {
    const auto end = text_.find('"', pos_);
    if (end == std::string_view::npos) return pos_ = text_.size(), stop(), std::string_view();
    pos_ = end + 1;
    // Behind an odd number of backslashes it is part of the string.
    std::size_t slashes = 0;
    while (slashes < end - begin && text_[end - 1 - slashes] == '\\') ++slashes;
    if (slashes % 2 == 0) return text_.substr(begin, end - begin);
  }
}

std::string_view JsonCursor::skip() {
  char first = peek();
  auto begin = pos_;
  if (first == '"') {
    raw_string();
  } else if (first == '{' || first == '[') {
    std::size_t depth = 0;
    do {
      while (pos_ < text_.size() && !is_structural(text_[pos_])) ++pos_;
      if (pos_ == text_.size()) return stop(), std::string_view();
      const char c = text_[pos_];
      if (c == '"') {
        raw_string();
        if (!ok_) return {};
        continue;
      }
      depth = c == '{' || c == '[' ? depth + 1 : depth - 1;
      ++pos_;
    } while (depth > 0);
  } else {
    auto end = text_.find_first_of(",}] \n\r\t", pos_);
    pos_ = end == std::string_view::npos ? text_.size() : end;
    if (pos_ == begin) stop();
  }
  return ok_ ? text_.substr(begin, pos_ - begin) : std::string_view();
}

// A member's name, without a copy unless it has escapes.
std::optional<std::string_view> JsonCursor::key() {
  const auto raw = raw_string();
  if (!ok_) return std::nullopt;
  if (raw.find('\\') == std::string_view::npos) return raw;
  auto text = unescape(raw);
  if (!text) return stop(), std::nullopt;
  unescaped_ = std::move(*text);
  return unescaped_;
}

std::optional<std::string> JsonCursor::string() {
  auto raw = raw_string();
  if (!ok_) return std::nullopt;
  if (raw.find('\\') == std::string_view::npos) return std::string(raw);
  auto text = unescape(raw);
  if (!text) stop();
  return text;
}

std::string JsonCursor::string_or_empty() {
  if (peek() == 'n' && skip() == "null") return {};
  return string().value_or("");
}

std::int64_t JsonCursor::integer() {
  auto text = skip();
  if (text == "null") return 0;
  auto value = parse_int(text);
  if (!value) stop();
  return value.value_or(0);
}

bool JsonCursor::boolean() {
  auto text = skip();
  if (text != "true" && text != "false" && text != "null") stop();
  return text == "true";
}

}  // namespace brume::api
