#include "brume/base/json.h"

namespace brume {

namespace {

const Json kNull;

// Watches the depth while nlohmann's SAX parser builds the document.
class DepthLimitedBuilder : public nlohmann::detail::json_sax_dom_parser<Json> {
  using Base = nlohmann::detail::json_sax_dom_parser<Json>;

 public:
  DepthLimitedBuilder(Json& root, std::size_t max_depth) : Base(root, false), max_depth_(max_depth) {}
  bool start_object(std::size_t size) { return ++depth_ <= max_depth_ && Base::start_object(size); }
  bool end_object() { return --depth_, Base::end_object(); }
  bool start_array(std::size_t size) { return ++depth_ <= max_depth_ && Base::start_array(size); }
  bool end_array() { return --depth_, Base::end_array(); }
  template <typename E>
  bool parse_error(std::size_t position, const std::string& /*token*/, const E& error) {
    position_ = position;
    what_ = error.what();
    return false;
  }
  [[nodiscard]] bool too_deep() const { return depth_ > max_depth_; }
  [[nodiscard]] std::size_t position() const { return position_; }

 private:
  std::size_t max_depth_;
  std::size_t depth_ = 0;
  std::size_t position_ = 0;
  std::string what_;
};

}  // namespace

Result<Json> parse_json(std::string_view text, JsonLimits limits) {
  Json value;
  DepthLimitedBuilder builder(value, limits.max_depth);
  if (Json::sax_parse(text.begin(), text.end(), &builder)) return value;
  if (builder.too_deep()) {
    return fail(Code::kBadRequest, "exceeded max nesting depth of " + std::to_string(limits.max_depth));
  }
  return fail(Code::kBadRequest, "invalid JSON at byte " + std::to_string(builder.position()));
}

std::string dump_json(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

const Json& at(const Json& value, std::string_view key) {
  if (!value.is_object()) return kNull;
  const auto it = value.find(key);
  return it == value.end() ? kNull : *it;
}

std::string_view str(const Json& value) {
  return value.is_string() ? std::string_view(value.get_ref<const std::string&>()) : std::string_view();
}
std::string_view str(const Json& value, std::string_view key) { return str(at(value, key)); }

std::int64_t num(const Json& value, std::string_view key, std::int64_t fallback) {
  const Json& member = at(value, key);
  return member.is_number() ? member.get<std::int64_t>() : fallback;
}

bool flag(const Json& value, std::string_view key, bool fallback) {
  const Json& member = at(value, key);
  return member.is_boolean() ? member.get<bool>() : fallback;
}

}  // namespace brume
