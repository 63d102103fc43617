#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <optional>

#include "brume/base/random.h"
#include "brume/base/strings.h"
#include "brume/http/websocket_client.h"
#include "deadline.h"
#include "websocket_frames.h"

namespace brume::http {

namespace {

using namespace std::chrono_literals;

// Opcodes of RFC 6455 section 5.2.
constexpr std::uint8_t kContinuation = 0;
constexpr std::uint8_t kText = 1;
constexpr std::uint8_t kBinary = 2;
constexpr std::uint8_t kClose = 8;
constexpr std::uint8_t kPing = 9;
constexpr std::uint8_t kPong = 10;
// Close codes of section 7.4.1.
constexpr std::uint16_t kProtocolError = 1002;
constexpr std::uint16_t kBadData = 1007;
constexpr std::uint16_t kTooBig = 1009;

constexpr std::size_t kReadSize = 16 * 1024;
constexpr std::size_t kMaxRead = 64 * 1024;
constexpr std::size_t kMaxControl = 125;
constexpr std::size_t kMaxWaitingPongs = 16 * 1024;
constexpr unsigned kPingsInARow = 64;

struct FrameHead {
  bool fin = false;
  std::uint8_t opcode = 0;
  bool masked = false;
  std::uint64_t size = 0;
  std::array<char, 4> mask{};
  std::size_t head_size = 0;  // bytes of the head itself
};

/// Bytes that a frame head of this beginning needs; the first two bytes must be there.
std::size_t head_size_of(std::string_view bytes) {
  const auto length = static_cast<std::uint8_t>(bytes[1]) & 0x7F;
  return 2U +
         (length == 126   ? 2U
          : length == 127 ? 8U
                          : 0U) +
         ((static_cast<std::uint8_t>(bytes[1]) & 0x80) != 0 ? 4 : 0);
}

// nullopt: a form that the RFC forbids.
std::optional<FrameHead> parse_head(std::string_view bytes, bool expect_mask) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  FrameHead head;
  head.fin = (byte(0) & 0x80) != 0;
  head.opcode = byte(0) & 0x0F;
  head.masked = (byte(1) & 0x80) != 0;
  head.head_size = head_size_of(bytes);
  head.size = byte(1) & 0x7F;
  std::size_t at = 2;
  if (head.size >= 126) {
    const std::size_t width = head.size == 126 ? 2 : 8;
    head.size = 0;
    for (std::size_t i = 0; i < width; ++i) head.size = head.size << 8 | byte(at++);
  }
  if (head.masked) std::copy_n(bytes.data() + at, 4, head.mask.data());
  const bool known = head.opcode <= kBinary || (head.opcode >= kClose && head.opcode <= kPong);
  if ((byte(0) & 0x70) != 0 || !known || head.masked != expect_mask) return std::nullopt;
  if (head.opcode >= kClose && (!head.fin || head.size > kMaxControl)) return std::nullopt;
  return head;
}

void apply_mask(char* data, std::size_t size, const std::array<char, 4>& mask) {
  for (std::size_t i = 0; i < size; ++i) data[i] = static_cast<char>(data[i] ^ mask[i % 4]);
}

std::string make_frame(std::uint8_t opcode, std::string_view payload, bool masked) {
  std::string frame;
  frame.reserve(payload.size() + 14);
  frame += static_cast<char>(0x80 | opcode);
  const int mask_bit = masked ? 0x80 : 0;
  const auto size = payload.size();
  if (size < 126) {
    frame += static_cast<char>(mask_bit | static_cast<int>(size));
  } else {
    const int width = size <= 0xFFFF ? 2 : 8;
    frame += static_cast<char>(mask_bit | (width == 2 ? 126 : 127));
    for (int shift = (width - 1) * 8; shift >= 0; shift -= 8) frame += static_cast<char>(size >> shift & 0xFF);
  }
  if (!masked) return frame.append(payload);
  std::array<char, 4> mask{};
  std::ranges::copy(random_bytes(4), mask.begin());
  frame.append(mask.data(), mask.size());
  const auto at = frame.size();
  frame.append(payload);
  apply_mask(frame.data() + at, size, mask);
  return frame;
}

// 1000-1003, 1007-1014 and 3000-4999 may be on the wire (section 7.4).
bool is_valid_close_code(unsigned code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

class StreamWebSocket final : public WebSocket {
 public:
  StreamWebSocket(std::unique_ptr<Stream> stream, const Executor& executor, WebSocketRole role, std::string protocol,
                  Farewell farewell, std::size_t max_message)
      : stream_(std::move(stream)),
        executor_(executor),
        farewell_(farewell),
        max_message_(max_message),
        role_(role),
        protocol_(std::move(protocol)),
        write_done_(executor),
        read_done_(executor),
        heard_(executor) {}
  ~StreamWebSocket() override { stream_->close(); }

  [[nodiscard]] const std::string& protocol() const override { return protocol_; }

  Task<Result<Message>> read() override {
    while (!peer_closed_ && !closing_) {
      auto step = co_await read_frame();
      if (!step) {
        answered();
        co_return fail(step.error());
      }
      if (!*step) continue;
      Message message{std::move(message_), message_opcode_ == kText, false};
      message_.clear();
      message_opcode_ = kContinuation;
      co_return message;
    }
    co_return Message{{}, false, true};
  }

  Task<Status> write(std::string_view data, bool text) override {
    if (close_sent_) co_return fail(Code::kCancelled, "the WebSocket is closed");
    co_return co_await send(make_frame(text ? kText : kBinary, data, masks()));
  }

  Task<Status> ping(std::chrono::steady_clock::duration patience) override {
    if (close_sent_) co_return fail(Code::kCancelled, "the WebSocket is closed");
    awaits_pong_ = true;
    BRUME_CO_CHECK(co_await send(make_frame(kPing, {}, masks())));
    const bool heard = co_await heard_.wait_for(patience);
    awaits_pong_ = false;
    if (!heard) co_return fail(Code::kTimeout, "WebSocket: a ping was not answered");
    co_return Status();
  }

  Task<Status> close(std::uint16_t code, std::string_view reason) override {
    closing_ = true;
    close_deadline_.emplace(executor_, farewell_, [this] { stream_->close(); });
    auto sent = co_await send_close(code, reason);
    if (sent) co_await await_close();
    close_deadline_.reset();
    stream_->close();
    co_return sent;
  }

  void abort() override { stream_->close(); }

 private:
  [[nodiscard]] bool masks() const { return role_ == WebSocketRole::kClient; }

  // The peer has answered a ping, by whatever it sent, or is gone.
  void answered() {
    if (std::exchange(awaits_pong_, false)) heard_.notify();
  }

  // The peer's own close is awaited so that ours, and what went before it, is not lost to a reset: that is what a peer
  // gets whose bytes are left unread.
  Task<void> await_close() {
    while (!peer_closed_) {
      if (reading_) {
        co_await read_done_.wait();
        continue;
      }
      auto step = co_await read_frame();
      if (!step) break;
      message_.clear();
      if (*step) message_opcode_ = kContinuation;
    }
  }

  // One frame; true when it completed a message.
  Task<Result<bool>> read_frame() {
    struct Reading {
      StreamWebSocket* self;
      explicit Reading(StreamWebSocket* s) : self(s) { self->reading_ = true; }
      ~Reading() {
        self->reading_ = false;
        self->read_done_.notify_all();
      }
    } reading(this);
    BRUME_CO_CHECK(co_await need(2));
    BRUME_CO_CHECK(co_await need(head_size_of(in_)));
    const auto head = parse_head(in_, role_ == WebSocketRole::kServer);
    if (!head) co_return co_await violation(kProtocolError, "malformed frame");
    if (head->size > max_message_ || message_.size() + head->size > max_message_) {
      co_return co_await violation(kTooBig, "the message is too big");
    }
    BRUME_CO_CHECK(co_await need(head->head_size + head->size));
    if (head->masked) apply_mask(in_.data() + head->head_size, head->size, head->mask);
    answered();
    if (head->opcode >= kClose) {
      std::string payload = in_.substr(head->head_size, head->size);
      in_.erase(0, head->head_size + head->size);
      BRUME_CO_CHECK(co_await on_control(head->opcode, std::move(payload)));
      co_return false;
    }
    const bool continues = head->opcode == kContinuation;
    if (continues != (message_opcode_ != kContinuation)) {
      co_return co_await violation(kProtocolError, "unexpected fragment");
    }
    if (!continues) message_opcode_ = head->opcode;
    message_.append(in_, head->head_size, head->size);
    in_.erase(0, head->head_size + head->size);
    if (!head->fin) co_return false;
    // A message that is dropped is not whole here.
    if (message_opcode_ == kText && !closing_ && !is_utf8(message_))
      co_return co_await violation(kBadData, "text is not UTF-8");
    co_return true;
  }

  Task<Status> on_control(std::uint8_t opcode, std::string payload) {
    if (opcode == kPong) co_return Status();
    if (opcode == kPing) {
      if (close_sent_) co_return Status();
      if (++pings_ % kPingsInARow == 0) co_await yield_now();  // one read brings thousands, each with its answer
      auto pong = make_frame(kPong, payload, masks());
      // A write under way takes the pong along: two may not interleave, and reading must not wait for it.
      if (!writing_) co_return co_await send(std::move(pong));
      if (control_.size() < kMaxWaitingPongs) control_ += pong;
      co_return Status();
    }
    std::uint16_t code = 1000;
    if (payload.size() >= 2) {
      code = static_cast<std::uint16_t>(static_cast<std::uint8_t>(payload[0]) << 8 |
                                        static_cast<std::uint8_t>(payload[1]));
    }
    const bool bad = payload.size() == 1 || (payload.size() >= 2 && !is_valid_close_code(code)) ||
                     (payload.size() > 2 && !is_utf8(std::string_view(payload).substr(2)));
    peer_closed_ = true;
    co_return co_await send_close(bad ? kProtocolError : code, {});
  }

  Task<Result<bool>> violation(std::uint16_t code, std::string_view why) {
    (void)co_await send_close(code, why);
    (void)co_await stream_->close_write();
    co_return fail(Code::kBadRequest, "WebSocket: " + std::string(why));
  }

  Task<Status> send_close(std::uint16_t code, std::string_view reason) {
    if (close_sent_) co_return Status();
    close_sent_ = true;
    std::string payload{static_cast<char>(code >> 8), static_cast<char>(code & 0xFF)};
    payload.append(reason.substr(0, kMaxControl - 2));
    co_return co_await send(make_frame(kClose, payload, masks()));
  }

  // One frame at a time; pongs that came up meanwhile follow it.
  Task<Status> send(std::string frame) {
    while (writing_) co_await write_done_.wait();
    struct Writing {
      StreamWebSocket* self;
      explicit Writing(StreamWebSocket* s) : self(s) { self->writing_ = true; }
      ~Writing() {
        self->writing_ = false;
        self->write_done_.notify_all();
      }
    } writing(this);
    BRUME_CO_CHECK(co_await stream_->write(frame));
    while (!control_.empty()) {
      const auto pongs = std::exchange(control_, {});
      BRUME_CO_CHECK(co_await stream_->write(pongs));
    }
    co_return Status();
  }

  Task<Status> need(std::size_t size) {
    while (in_.size() < size) {
      const auto had = in_.size();
      // No further ahead than a read fills: a peer that announces much and sends little costs little.
      in_.resize(had + std::clamp(size - had, kReadSize, kMaxRead));
      auto count = co_await stream_->read(std::span(in_).subspan(had));
      in_.resize(had + (count ? *count : 0));
      if (!count) co_return fail(count.error());
      if (*count == 0) co_return fail(Code::kIo, "the connection ended without a WebSocket close");
      if (close_deadline_) close_deadline_->hear();
    }
    co_return Status();
  }

  std::unique_ptr<Stream> stream_;
  Executor executor_;
  Farewell farewell_;
  std::size_t max_message_;
  WebSocketRole role_;
  std::string protocol_;
  Condition write_done_;
  Condition read_done_;
  Event heard_;
  std::optional<FarewellDeadline> close_deadline_;
  std::string in_;
  std::string message_;
  std::string control_;  // pongs waiting for the write under way
  unsigned pings_ = 0;
  std::uint8_t message_opcode_ = kContinuation;
  bool reading_ = false;
  bool writing_ = false;
  bool awaits_pong_ = false;
  bool close_sent_ = false;
  bool closing_ = false;  // close() drops what is read from now on
  bool peer_closed_ = false;
};

}  // namespace

std::string websocket_accept_key(std::string_view key) {
  // The GUID that RFC 6455 section 1.3 fixes.
  const std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha1(), nullptr);
  return base64_encode({reinterpret_cast<const char*>(digest.data()), size});
}

Result<std::string> check_websocket_request(const Request& request) {
  const auto& headers = request.headers;
  if (request.method != "GET" || !headers.has_token("Connection", "upgrade") ||
      !headers.has_token("Upgrade", "websocket")) {
    return fail(Code::kBadRequest, "not a WebSocket request");
  }
  if (headers.get("Sec-WebSocket-Version") != "13") {
    return fail(Code::kNotAcceptable, "unsupported WebSocket version");
  }
  const auto key = headers.get("Sec-WebSocket-Key");
  const auto decoded = base64_decode(key);
  if (!decoded || decoded->size() != 16) return fail(Code::kBadRequest, "bad Sec-WebSocket-Key");
  return websocket_accept_key(key);
}

std::unique_ptr<WebSocket> make_websocket(std::unique_ptr<Stream> stream, const Executor& executor, WebSocketRole role,
                                          std::string protocol, Farewell farewell, std::size_t max_message) {
  return std::make_unique<StreamWebSocket>(std::move(stream), executor, role, std::move(protocol), farewell,
                                           max_message);
}

Task<Result<std::unique_ptr<WebSocket>>> open_websocket(Client& client, ClientRequest request,
                                                        std::vector<std::string> protocols) {
  const auto key = base64_encode(random_bytes(16));
  request.method = "GET";
  request.headers.set("Connection", "Upgrade");
  request.headers.set("Upgrade", "websocket");
  request.headers.set("Sec-WebSocket-Version", "13");
  request.headers.set("Sec-WebSocket-Key", key);
  if (!protocols.empty()) request.headers.set("Sec-WebSocket-Protocol", join(protocols, ", "));
  BRUME_CO_TRY(auto upgraded, co_await client.upgrade(std::move(request)));
  if (upgraded.head.status != 101) {
    co_return fail(Code::kBadRequest, "WebSocket refused: status " + std::to_string(upgraded.head.status) + ": " +
                                          upgraded.head.body.substr(0, 512));
  }
  const auto& headers = upgraded.head.headers;
  std::string protocol(headers.get("Sec-WebSocket-Protocol"));
  const bool offered = protocol.empty() || std::ranges::find(protocols, protocol) != protocols.end();
  if (headers.get("Sec-WebSocket-Accept") != websocket_accept_key(key) || !headers.has_token("Upgrade", "websocket") ||
      !offered) {
    co_return fail(Code::kBadRequest, "the server's WebSocket handshake is wrong");
  }
  const Executor executor = co_await boost::asio::this_coro::executor;
  co_return make_websocket(std::move(upgraded.stream), executor, WebSocketRole::kClient, std::move(protocol));
}

}  // namespace brume::http
