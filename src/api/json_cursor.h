// A cursor over JSON text that finds a few values without building a DOM. It trusts the text to be JSON but never reads
// beyond its end: on anything unexpected it stops with ok() false.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace brume::api {

/// Not thread-safe; borrows the text.
class JsonCursor {
 public:
  explicit JsonCursor(std::string_view text) : text_(text) {}

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::size_t position() const { return pos_; }
  [[nodiscard]] char peek();

  /// Goes through the members of the object at the cursor. `on_member(key)` stands at the value and must consume it
  /// (skip(), string(), ...) and answer true to go on. The key, a view, is good until the cursor moves on to members of
  /// the value or behind it. False when the text is no object or the callback stopped.
  template <typename F>
  bool object(F on_member);
  /// The same for the items of an array.
  template <typename F>
  bool array(F on_item);

  /// Passes one value of any kind and returns its text.
  std::string_view skip();
  /// A string value, unescaped; nullopt (and ok() false) if there is none at the cursor.
  std::optional<std::string> string();
  /// A string, or the empty string for null; any other value is an error.
  std::string string_or_empty();
  std::int64_t integer();
  bool boolean();

 private:
  bool eat(char c);
  std::string_view raw_string();
  std::optional<std::string_view> key();
  bool stop() { return ok_ = false; }

  std::string_view text_;
  std::size_t pos_ = 0;
  bool ok_ = true;
  std::string unescaped_;  // the last key, should it have had escapes
};

template <typename F>
bool JsonCursor::object(F on_member) {
  if (!eat('{')) return stop();
  if (peek() == '}') return eat('}');
  do {
    const auto name = key();
    if (!name || !eat(':')) return stop();
    if (!on_member(*name) || !ok_) return false;
  } while (peek() == ',' && eat(','));
  return eat('}') || stop();
}

template <typename F>
bool JsonCursor::array(F on_item) {
  if (!eat('[')) return stop();
  if (peek() == ']') return eat(']');
  do {
    if (!on_item() || !ok_) return false;
  } while (peek() == ',' && eat(','));
  return eat(']') || stop();
}

}  // namespace brume::api
