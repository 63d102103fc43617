#include "brume/api/decode.h"

#include <utility>

#include "api/strict_faults.h"
#include "api/yaml.h"
#include "brume/base/strings.h"

namespace brume::api {

namespace {

// Builds the DOM from nlohmann's SAX events, noting repeated keys and watching the depth.
class JsonBuilder {
 public:
  using string_t = Json::string_t;

  explicit JsonBuilder(std::size_t max_depth) : max_depth_(max_depth) {}

  bool null() { return put(Json()); }
  bool boolean(bool value) { return put(Json(value)); }
  bool number_integer(Json::number_integer_t value) { return put(Json(value)); }
  bool number_unsigned(Json::number_unsigned_t value) {
    // Signed where it fits, so that equal numbers compare and print alike.
    return value <= INT64_MAX ? put(Json(static_cast<std::int64_t>(value))) : put(Json(value));
  }
  bool number_float(Json::number_float_t value, const string_t& /*text*/) { return put(Json(value)); }
  bool string(string_t& value) { return put(Json(std::move(value))); }
  bool binary(Json::binary_t& /*value*/) { return false; }
  bool start_object(std::size_t /*size*/) { return open(Json::object()); }
  bool start_array(std::size_t /*size*/) { return open(Json::array()); }
  bool end_object() { return stack_.pop_back(), true; }
  bool end_array() { return stack_.pop_back(), true; }

  bool key(string_t& name) {
    Frame& frame = stack_.back();
    auto [it, added] = frame.container->get_ptr<Json::object_t*>()->try_emplace(std::move(name));
    frame.key = &it->first;
    frame.slot = &it->second;
    if (!added && !duplicates_.full()) duplicates_.add("duplicate field \"" + path() + "\"");
    return true;
  }

  template <typename E>
  bool parse_error(std::size_t position, const std::string& token, const E& error) {
    position_ = position;
    token_ = token;
    what_ = error.what();
    return false;
  }

  [[nodiscard]] Error error(std::string_view body) const {
    if (too_deep_) return {Code::kBadRequest, "exceeded max depth"};
    if (what_.find("ill-formed UTF-8") != std::string::npos) return {Code::kBadRequest, "invalid UTF-8 in JSON"};
    if (position_ > body.size() || trim(body).empty()) return {Code::kBadRequest, "unexpected end of JSON input"};
    std::string_view at = position_ > 0 ? body.substr(position_ - 1, 1) : std::string_view();
    return {Code::kBadRequest, "invalid character '" + std::string(at) + "' looking for beginning of value"};
  }

  Decoded take() { return {std::move(root_), duplicates_.take()}; }

 private:
  struct Frame {
    Json* container;
    const std::string* key = nullptr;  // of an object: the member being read
    Json* slot = nullptr;
  };

  Json* place(Json value) {
    if (stack_.empty()) return root_ = std::move(value), &root_;
    Frame& frame = stack_.back();
    if (frame.container->is_array()) {
      frame.container->push_back(std::move(value));
      return &frame.container->back();
    }
    *frame.slot = std::move(value);
    return frame.slot;
  }

  bool put(Json value) { return place(std::move(value)), true; }

  bool open(Json value) {
    too_deep_ = stack_.size() >= max_depth_;
    if (too_deep_) return false;
    stack_.push_back({place(std::move(value))});
    return true;
  }

  [[nodiscard]] std::string path() const {
    std::string out;
    for (const Frame& frame : stack_) {
      if (frame.container->is_array()) {
        out += '[' + std::to_string(frame.container->size() - 1) + ']';
      } else {
        if (!out.empty()) out += '.';
        out += *frame.key;
      }
    }
    return out;
  }

  std::size_t max_depth_;
  std::vector<Frame> stack_;
  Json root_;
  StrictFaults duplicates_;
  std::size_t position_ = 0;
  std::string token_, what_;
  bool too_deep_ = false;
};

Result<Decoded> read_json(std::string_view body, const DecodeOptions& options) {
  JsonBuilder builder(options.max_depth);
  if (Json::sax_parse(body.begin(), body.end(), &builder)) return builder.take();
  return fail(builder.error(body));
}

}  // namespace

Result<Decoded> decode(std::string_view body, MediaType media, const DecodeOptions& options) {
  if (body.size() > options.max_bytes) {
    return fail(Code::kRequestEntityTooLarge,
                "Request entity too large: limit is " + std::to_string(options.max_bytes));
  }
  if (media == MediaType::kJson) return read_json(body, options);
  BRUME_TRY(auto documents, read_yaml(body, options));
  if (documents.size() > 1) return fail(Code::kBadRequest, "yaml: more than one document in the body");
  if (documents.empty()) return Decoded{};
  return std::move(documents.front());
}

Result<std::vector<Json>> decode_yaml_documents(std::string_view body, const DecodeOptions& options) {
  BRUME_TRY(auto documents, read_yaml(body, options));
  std::vector<Json> values;
  values.reserve(documents.size());
  for (auto& document : documents) values.push_back(std::move(document.value));
  return values;
}

}  // namespace brume::api
