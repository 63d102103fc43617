#include "http1_parser.h"

#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <variant>

namespace brume::http {

namespace beast = boost::beast;

namespace {

/// Takes the events of Beast's parser. Fields after the head (chunked trailers) are dropped: nothing in brume may act
/// on a field that arrived after the request was authorised.
template <bool kIsRequest>
class Events final : public beast::http::basic_parser<kIsRequest> {
 public:
  using Error = beast::error_code;
  using View = beast::string_view;

  Http1Parser::Head head;
  std::string* body = nullptr;

 private:
  static std::string_view std_view(View text) { return {text.data(), text.size()}; }

  void on_request_impl(beast::http::verb, View method, View target, int version, Error& ec) override {
    head.method = std_view(method);
    head.target = std_view(target);
    head.version = version;
    ec = {};
  }
  void on_response_impl(int status, View, int version, Error& ec) override {
    head.status = status;
    head.version = version;
    ec = {};
  }
  void on_field_impl(beast::http::field, View name, View value, Error& ec) override {
    ec = {};
    if (!in_head_) return;
    head.headers.add(std::string(std_view(name)), std::string(std_view(value)));
  }
  void on_header_impl(Error& ec) override {
    in_head_ = false;
    ec = {};
  }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, Error& ec) override { ec = {}; }
  std::size_t on_body_impl(View bytes, Error& ec) override {
    body->append(bytes.data(), bytes.size());
    ec = {};
    return bytes.size();
  }
  void on_chunk_header_impl(std::uint64_t, View, Error& ec) override { ec = {}; }
  std::size_t on_chunk_body_impl(std::uint64_t, View bytes, Error& ec) override {
    body->append(bytes.data(), bytes.size());
    ec = {};
    return bytes.size();
  }
  void on_finish_impl(Error& ec) override { ec = {}; }

  bool in_head_ = true;
};

template <typename Parser>
Result<std::size_t> feed_parser(Parser& parser, std::string_view data, std::string& body) {
  parser.body = &body;
  std::size_t used = 0;
  while (used < data.size() && !parser.is_done()) {
    const bool had_head = parser.is_header_done();
    beast::error_code ec;
    const auto taken = parser.put(boost::asio::const_buffer(data.data() + used, data.size() - used), ec);
    used += taken;
    if (ec == beast::http::error::need_more || (!ec && taken == 0)) break;
    if (ec == beast::http::error::header_limit) {
      return fail(Code::kRequestEntityTooLarge, "the header fields are too large");
    }
    if (ec) return fail(Code::kBadRequest, "malformed HTTP message: " + ec.message());
    if (!had_head && parser.is_header_done()) {
      parser.eager(true);
      break;
    }
  }
  return used;
}

}  // namespace

struct Http1Parser::State {
  std::variant<Events<true>, Events<false>> parser;  // of a request, of a response

  template <typename F>
  decltype(auto) with(F f) {
    return std::visit(f, parser);
  }
};

Http1Parser::Http1Parser(Kind kind, std::size_t max_head_bytes) : state_(std::make_unique<State>()) {
  if (kind == Kind::kResponse) state_->parser.emplace<Events<false>>();
  state_->with([&](auto& parser) {
    parser.header_limit(static_cast<std::uint32_t>(max_head_bytes));
    parser.body_limit(boost::none);  // limits are the callers', who know what they read
  });
}

Http1Parser::~Http1Parser() = default;
Http1Parser::Http1Parser(Http1Parser&&) noexcept = default;
Http1Parser& Http1Parser::operator=(Http1Parser&&) noexcept = default;

Result<std::size_t> Http1Parser::feed(std::string_view data, std::string& body) {
  return state_->with([&](auto& parser) { return feed_parser(parser, data, body); });
}

Status Http1Parser::finish() {
  return state_->with([](auto& parser) -> Status {
    if (parser.is_done()) return {};
    beast::error_code ec;
    if (parser.is_header_done()) parser.put_eof(ec);
    if (ec || !parser.is_done()) {
      return fail(Code::kCorrupt, "the connection ended in the middle of an HTTP message");
    }
    return {};
  });
}

bool Http1Parser::head_done() const {
  return state_->with([](auto& parser) { return parser.is_header_done(); });
}

bool Http1Parser::done() const {
  return state_->with([](auto& parser) { return parser.is_done(); });
}

Http1Parser::Head& Http1Parser::head() {
  return state_->with([](auto& parser) -> Head& { return parser.head; });
}

bool Http1Parser::keep_alive() const {
  return state_->with([](auto& parser) { return parser.keep_alive(); });
}

bool Http1Parser::chunked() const {
  return state_->with([](auto& parser) { return parser.chunked(); });
}

std::optional<std::uint64_t> Http1Parser::content_length() const {
  return state_->with([](auto& parser) -> std::optional<std::uint64_t> {
    if (const auto length = parser.content_length()) return *length;
    return std::nullopt;
  });
}

void Http1Parser::skip_body() {
  state_->with([](auto& parser) { parser.skip(true); });
}

}  // namespace brume::http
