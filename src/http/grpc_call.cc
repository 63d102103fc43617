#include "grpc_call.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "brume/base/strings.h"

namespace brume::http {

namespace {

// Codes of gRPC's status.md.
constexpr int kOk = 0;
constexpr int kCanceled = 1;
constexpr int kUnknown = 2;
constexpr int kPermissionDenied = 7;
constexpr int kResourceExhausted = 8;
constexpr int kInternal = 13;
constexpr int kUnavailable = 14;
constexpr int kUnauthenticated = 16;
constexpr std::array<std::string_view, 17> kCodeNames = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};
constexpr std::array<std::string_view, 4> kServingNames = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};

constexpr std::size_t kPrefix = 5;  // of a gRPC message: compressed or not, and its size in four bytes
// An answer has two bytes. These are for servers that mean no good, or for those that are something else.
constexpr std::size_t kMaxMessage = 4096;
constexpr std::size_t kMaxHeaders = 32 * 1024;  // with 32 bytes more for each, as SETTINGS_MAX_HEADER_LIST_SIZE counts
constexpr std::size_t kMaxReceived = 256 * 1024;  // of all frames
constexpr std::size_t kWriteSize = 64 * 1024;
constexpr std::size_t kMaxText = 1024;  // of a server's words that are kept
constexpr std::size_t kMaxField = 128;

// A protobuf varint of at most ten bytes, taken from the front.
std::optional<std::uint64_t> take_varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 70 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<std::uint8_t>(bytes.front());
    bytes.remove_prefix(1);
    if (shift == 63 && byte > 1) return std::nullopt;
    value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return std::nullopt;
}

bool skip_bytes(std::string_view& bytes, std::uint64_t count) {
  if (count > bytes.size()) return false;
  bytes.remove_prefix(count);
  return true;
}

// HealthCheckResponse{status = 1}; fields that later versions may add are skipped. nullopt: not protobuf.
std::optional<int> parse_response(std::string_view bytes) {
  int status = 0;
  while (!bytes.empty()) {
    const auto tag = take_varint(bytes);
    if (!tag || *tag >> 3 == 0 || *tag >> 32 != 0) return std::nullopt;
    bool taken = false;
    switch (*tag & 7) {
      case 0:
        if (const auto value = take_varint(bytes)) {
          taken = true;
          if (*tag >> 3 == 1) status = static_cast<int>(static_cast<std::uint32_t>(*value));
        }
        break;
      case 1: taken = skip_bytes(bytes, 8); break;
      case 2:
        if (const auto size = take_varint(bytes)) taken = skip_bytes(bytes, *size);
        break;
      case 5: taken = skip_bytes(bytes, 4); break;
      default: break;
    }
    if (!taken) return std::nullopt;
  }
  return status;
}

// HealthCheckRequest{service = 1} behind its prefix.
std::string make_body(std::string_view service) {
  std::string request;
  if (!service.empty()) {
    request += '\x0a';
    std::size_t size = service.size();
    for (; size >= 0x80; size >>= 7) request += static_cast<char>(size | 0x80);
    request += static_cast<char>(size);
    request += service;
  }
  std::string body(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) body += static_cast<char>(request.size() >> shift & 0xFF);
  return body + request;
}

std::size_t message_size(std::string_view message) {
  std::size_t size = 0;
  for (std::size_t i = 1; i < kPrefix; ++i) size = size << 8 | static_cast<std::uint8_t>(message[i]);
  return size;
}

// A byte that gRPC's percent encoding escapes; what is no escape stays as it is.
std::string percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned char byte = 0;
    if (text[i] == '%' && i + 2 < text.size()) {
      const char* end = text.data() + i + 3;
      if (std::from_chars(text.data() + i + 1, end, byte, 16).ptr == end) {
        out += static_cast<char>(byte);
        i += 2;
        continue;
      }
    }
    out += text[i];
  }
  return out;
}

// A server's words as they may stand in an event.
std::string presentable(std::string text) {
  if (!is_utf8(text)) {
    std::ranges::replace_if(text, [](char c) { return static_cast<unsigned char>(c) >= 0x80; }, '?');
  }
  if (text.size() <= kMaxText) return text;
  std::size_t end = kMaxText;
  while (end > 0 && (static_cast<std::uint8_t>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

// gRPC's http-grpc-status-mapping.md.
int code_of_http(int status) {
  switch (status) {
    case 400: return kInternal;
    case 401: return kUnauthenticated;
    case 403: return kPermissionDenied;
    case 404: return GrpcHealth::kUnimplemented;
    case 429:
    case 502:
    case 503:
    case 504: return kUnavailable;
    default: return kUnknown;
  }
}

// PROTOCOL-HTTP2.md, "Errors".
int code_of_reset(std::uint32_t error_code) {
  switch (error_code) {
    case NGHTTP2_REFUSED_STREAM: return kUnavailable;
    case NGHTTP2_CANCEL: return kCanceled;
    case NGHTTP2_FLOW_CONTROL_ERROR:
    case NGHTTP2_ENHANCE_YOUR_CALM: return kResourceExhausted;
    case NGHTTP2_INADEQUATE_SECURITY: return kPermissionDenied;
    default: return error_code <= NGHTTP2_HTTP_1_1_REQUIRED ? kInternal : kUnknown;
  }
}

bool is_grpc(std::string_view content_type) {
  constexpr std::string_view kType = "application/grpc";
  const std::string type = to_lower(content_type);
  return type.starts_with(kType) &&
         (type.size() == kType.size() || type[kType.size()] == '+' || type[kType.size()] == ';');
}

// At most eight digits and a unit.
std::string timeout_text(std::chrono::milliseconds timeout) {
  constexpr std::int64_t kMost = 99'999'999;
  const std::int64_t count = std::max<std::int64_t>(timeout.count(), 1);
  if (count <= kMost) return std::to_string(count) + "m";
  return std::to_string(std::min(count / 1000, kMost)) + "S";
}

std::string_view view(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace

std::string grpc_code_name(int code) {
  if (code >= 0 && static_cast<std::size_t>(code) < kCodeNames.size()) return std::string(kCodeNames[code]);
  return "Code(" + std::to_string(code) + ")";
}

std::string grpc_serving_status_name(int status) {
  if (status >= 0 && static_cast<std::size_t>(status) < kServingNames.size()) return std::string(kServingNames[status]);
  return std::to_string(status);
}

/// From nghttp2's functions to the members. Once the call is done they fail, so that nghttp2 reads no more.
struct GrpcHealthCall::Callbacks {
  static GrpcHealthCall& self(void* user) { return *static_cast<GrpcHealthCall*>(user); }
  static int verdict(const GrpcHealthCall& call) { return call.done() ? NGHTTP2_ERR_CALLBACK_FAILURE : 0; }

  static int header(nghttp2_session* /*session*/, const nghttp2_frame* /*frame*/, const std::uint8_t* name,
                    std::size_t name_size, const std::uint8_t* value, std::size_t value_size, std::uint8_t /*flags*/,
                    void* user) {
    self(user).on_header(view(name, name_size), view(value, value_size));
    return verdict(self(user));
  }

  static int frame(nghttp2_session* /*session*/, const nghttp2_frame* frame, void* user) {
    GrpcHealthCall& call = self(user);
    const bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
      case NGHTTP2_SETTINGS:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) call.connected_ = true;
        break;
      case NGHTTP2_GOAWAY: call.goaway_ = nghttp2_http2_strerror(frame->goaway.error_code); break;
      case NGHTTP2_HEADERS: call.on_headers_end(end); break;
      case NGHTTP2_DATA:
        if (end) call.on_stream_end();
        break;
      default: break;
    }
    return verdict(call);
  }

  static int data(nghttp2_session* /*session*/, std::uint8_t /*flags*/, std::int32_t /*stream*/,
                  const std::uint8_t* bytes, std::size_t size, void* user) {
    self(user).on_data(view(bytes, size));
    return verdict(self(user));
  }

  static int close(nghttp2_session* /*session*/, std::int32_t /*stream*/, std::uint32_t error_code, void* user) {
    self(user).on_stream_close(error_code);
    return verdict(self(user));
  }

  static int invalid(nghttp2_session* /*session*/, const nghttp2_frame* /*frame*/, int code, void* user) {
    self(user).lost(self(user).fault(code));
    return verdict(self(user));
  }

  static int error(nghttp2_session* /*session*/, int /*code*/, const char* text, std::size_t size, void* user) {
    self(user).library_error_ = presentable(std::string(text, size));
    return 0;
  }

  static ssize_t body(nghttp2_session* /*session*/, std::int32_t /*stream*/, std::uint8_t* buffer, std::size_t size,
                      std::uint32_t* flags, nghttp2_data_source* /*source*/, void* user) {
    GrpcHealthCall& call = self(user);
    const std::size_t count = call.body_.copy(reinterpret_cast<char*>(buffer), size, call.body_sent_);
    call.body_sent_ += count;
    if (call.body_sent_ == call.body_.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(count);
  }
};

GrpcHealthCall::GrpcHealthCall(const std::string& authority, std::string_view service,
                               std::chrono::milliseconds timeout)
    : body_(make_body(service)) {
  nghttp2_session_callbacks* callbacks = nullptr;
  if (nghttp2_session_callbacks_new(&callbacks) != 0) std::abort();  // no memory
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Callbacks::header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Callbacks::frame);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Callbacks::data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Callbacks::close);
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, Callbacks::invalid);
  nghttp2_session_callbacks_set_error_callback2(callbacks, Callbacks::error);
  const int made = nghttp2_session_client_new(&session_, callbacks, this);
  nghttp2_session_callbacks_del(callbacks);
  if (made != 0) std::abort();  // no memory
  submit(authority, timeout);
}

GrpcHealthCall::~GrpcHealthCall() { nghttp2_session_del(session_); }

void GrpcHealthCall::submit(const std::string& authority, std::chrono::milliseconds timeout) {
  const std::array<nghttp2_settings_entry, 2> settings = {
      {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}, {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, kMaxHeaders}}};
  const std::string timeout_value = timeout_text(timeout);
  const auto field = [](std::string_view name, std::string_view value) {
    const auto bytes = [](std::string_view text) {
      return const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(text.data()));  // only read
    };
    return nghttp2_nv{bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
  };
  const std::array headers = {field(":method", "POST"),
                              field(":scheme", "http"),
                              field(":path", "/grpc.health.v1.Health/Check"),
                              field(":authority", authority),
                              field("content-type", "application/grpc"),
                              field("user-agent", "kube-probe/1.36"),
                              field("te", "trailers"),
                              field("grpc-timeout", timeout_value)};
  nghttp2_data_provider body{};
  body.read_callback = Callbacks::body;
  if (nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size()) != 0 ||
      nghttp2_submit_request(session_, nullptr, headers.data(), headers.size(), &body, nullptr) < 0) {
    std::abort();  // no memory: nothing else is wrong with these
  }
}

std::string GrpcHealthCall::output() {
  std::string out;
  while (!done() && out.size() < kWriteSize) {
    const std::uint8_t* bytes = nullptr;
    const auto size = nghttp2_session_mem_send(session_, &bytes);
    if (size < 0) lost(fault(static_cast<int>(size)));
    if (size <= 0) break;
    out += view(bytes, static_cast<std::size_t>(size));
  }
  // nghttp2 ends a connection that breaks the protocol, after it has told the server why.
  if (!done() && nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0)
    lost(fault(NGHTTP2_ERR_PROTO));
  return out;
}

void GrpcHealthCall::input(std::string_view bytes) {
  if (done()) return;
  received_ += bytes.size();
  if (received_ > kMaxReceived) return lost("the server sent too much");
  const auto taken =
      nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (taken < 0) lost(fault(static_cast<int>(taken)));
}

std::string GrpcHealthCall::fault(int code) const {
  return library_error_.empty() ? nghttp2_strerror(code) : library_error_;
}

void GrpcHealthCall::lost(const std::string& why) {
  std::string text = "connection error: desc = \"error reading ";
  text += (connected_ ? "from server: " : "server preface: ") + why + '"';
  if (!goaway_.empty()) text += ", received prior goaway: code: " + goaway_;
  finish(kUnavailable, text);
}

void GrpcHealthCall::time_out() { finish(GrpcHealth::kDeadlineExceeded, "context deadline exceeded"); }

Result<GrpcHealth> GrpcHealthCall::result() const {
  if (connected_) return outcome_;
  const bool late = outcome_.grpc_status == GrpcHealth::kDeadlineExceeded;
  return fail(late ? Code::kTimeout : Code::kServiceUnavailable, outcome_.grpc_message);
}

// The first end is the one that counts: what comes after it is its consequence.
void GrpcHealthCall::finish(int status, std::string_view message, std::optional<int> serving) {
  if (!std::exchange(done_, true)) outcome_ = GrpcHealth{status, presentable(std::string(message)), serving};
}

void GrpcHealthCall::on_header(std::string_view name, std::string_view value) {
  header_bytes_ += name.size() + value.size() + 32;
  if (header_bytes_ > kMaxHeaders) return finish(kInternal, "the server's headers are too long");
  if (name == ":status") {
    http_status_ = static_cast<int>(parse_int(value).value_or(0));
  } else if (name == "content-type") {
    content_type_ = value.substr(0, kMaxField);
  } else if (name == "grpc-status") {
    grpc_status_ = value.substr(0, kMaxField);
  } else if (name == "grpc-message") {
    grpc_message_ = percent_decode(value);
  }
}

void GrpcHealthCall::on_headers_end(bool end_stream) {
  if (http_status_ >= 100 && http_status_ < 200 && !has_headers_) return;  // the real ones follow
  if (!std::exchange(has_headers_, true) && !is_grpc(content_type_)) {
    std::string text = "unexpected HTTP status code received from server: " + std::to_string(http_status_) + "; ";
    text += content_type_.empty() ? "malformed header: missing HTTP content-type"
                                  : "transport: received unexpected content-type \"" + content_type_ + '"';
    return finish(code_of_http(http_status_), text);
  }
  if (end_stream) on_stream_end();
}

void GrpcHealthCall::on_data(std::string_view bytes) {
  constexpr std::size_t kMost = kPrefix + kMaxMessage + 1;
  message_ += bytes.substr(0, kMost - std::min(kMost, message_.size()));
  check_message();
}

void GrpcHealthCall::check_message() {
  if (message_.size() < kPrefix) return;
  const std::size_t size = message_size(message_);
  if (message_[0] != 0) {
    finish(kInternal, "grpc: compressed flag set with identity or empty encoding");
  } else if (size > kMaxMessage) {
    finish(kResourceExhausted, "grpc: received message larger than max (" + std::to_string(size) + " vs. " +
                                   std::to_string(kMaxMessage) + ")");
  } else if (message_.size() > kPrefix + size) {
    finish(kInternal,
           "cardinality violation: expected <EOF> for non server-streaming RPCs, but received another message");
  }
}

void GrpcHealthCall::on_stream_end() {
  if (!grpc_status_) return finish(kInternal, "server closed the stream without sending trailers");
  const auto status = parse_int(*grpc_status_);
  if (!status || *status < 0 || *status > INT32_MAX)
    return finish(kUnknown, "transport: malformed grpc-status: \"" + *grpc_status_ + '"');
  if (*status != kOk) return finish(static_cast<int>(*status), grpc_message_);
  if (message_.empty()) {
    return finish(kInternal, "cardinality violation: received no response message from non-server-streaming RPC");
  }
  if (message_.size() < kPrefix || message_.size() != kPrefix + message_size(message_))
    return finish(kInternal, "unexpected EOF");
  const auto serving = parse_response(std::string_view(message_).substr(kPrefix));
  if (!serving) return finish(kInternal, "grpc: failed to unmarshal the received message");
  finish(kOk, "", serving);
}

void GrpcHealthCall::on_stream_close(std::uint32_t error_code) {
  if (!goaway_.empty() && error_code == NGHTTP2_REFUSED_STREAM) {
    return finish(kUnavailable,
                  "the stream is rejected because server is draining the connection; goaway code: " + goaway_);
  }
  finish(code_of_reset(error_code),
         std::string("stream terminated by RST_STREAM with error code: ") + nghttp2_http2_strerror(error_code));
}

}  // namespace brume::http
