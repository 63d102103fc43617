// Incremental HTTP/1.x message parser; hides Beast, so that it is compiled once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "brume/base/result.h"
#include "brume/http/message.h"

namespace brume::http {

/// Parses one message (RFC 9112) from bytes that the caller keeps. Not thread-safe.
class Http1Parser {
 public:
  enum class Kind : std::uint8_t { kRequest, kResponse };

  /// What the start line and the header fields said.
  struct Head {
    std::string method;  ///< requests
    std::string target;  ///< requests
    int status = 0;      ///< responses
    int version = 11;    ///< 10 or 11
    Headers headers;
  };

  Http1Parser(Kind kind, std::size_t max_head_bytes);
  ~Http1Parser();
  Http1Parser(Http1Parser&&) noexcept;
  Http1Parser& operator=(Http1Parser&&) noexcept;

  /// Takes what it can from the front of `data` and says how many bytes that were; stops after the head, and after the
  /// message. Decoded body bytes are appended to `body`. kBadRequest for broken framing, kRequestEntityTooLarge when
  /// the head is too big.
  Result<std::size_t> feed(std::string_view data, std::string& body);
  /// The peer's bytes have ended: fine for a body without a length, kCorrupt otherwise.
  Status finish();

  [[nodiscard]] bool head_done() const;
  [[nodiscard]] bool done() const;
  [[nodiscard]] Head& head();
  [[nodiscard]] bool keep_alive() const;
  [[nodiscard]] bool chunked() const;
  [[nodiscard]] std::optional<std::uint64_t> content_length() const;
  /// Responses: there is no body whatever the head says (answer to HEAD). Call before the first feed().
  void skip_body();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace brume::http
