// One call of the gRPC health service over HTTP/2, without I/O: bytes in, bytes out.
#pragma once

#include <nghttp2/nghttp2.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "brume/http/grpc_health.h"

namespace brume::http {

/// Gives the bytes for the server and takes the server's, whatever they are; nghttp2 does frames and header
/// compression. The caller bounds the time. Owner: one loop.
class GrpcHealthCall {
 public:
  GrpcHealthCall(const std::string& authority, std::string_view service, std::chrono::milliseconds timeout);
  ~GrpcHealthCall();
  GrpcHealthCall(const GrpcHealthCall&) = delete;
  GrpcHealthCall& operator=(const GrpcHealthCall&) = delete;

  /// What is to be sent now, or a part of it; "" when that was all. At first the request, later answers to the server's
  /// settings and pings.
  [[nodiscard]] std::string output();
  void input(std::string_view bytes);
  /// The server is gone: `why` is "EOF" or an error's text.
  void lost(const std::string& why);
  void time_out();
  /// There is a result(); more input is dropped, and there is no more output. nghttp2 must not be told to end the
  /// session while it reads: up to 1.68.0 it may then abort over the bytes that follow (CVE-2026-27135).
  [[nodiscard]] bool done() const { return done_; }
  /// As of check_grpc_health(); when done().
  [[nodiscard]] Result<GrpcHealth> result() const;

 private:
  struct Callbacks;
  void submit(const std::string& authority, std::chrono::milliseconds timeout);
  void finish(int status, std::string_view message, std::optional<int> serving = {});
  [[nodiscard]] std::string fault(int code) const;
  void on_header(std::string_view name, std::string_view value);
  void on_headers_end(bool end_stream);
  void on_data(std::string_view bytes);
  void on_stream_end();
  void on_stream_close(std::uint32_t error_code);
  /// Looks at the message so far; finishes the call when it can never be one.
  void check_message();

  nghttp2_session* session_ = nullptr;
  std::string body_;  // of the request
  std::size_t body_sent_ = 0;
  std::string library_error_;  // nghttp2's last word
  std::string goaway_;         // its error code's name, once one came
  std::size_t received_ = 0;
  std::size_t header_bytes_ = 0;
  bool connected_ = false;  // the server's settings came: it speaks HTTP/2
  bool has_headers_ = false;
  // Of the response so far; 0 and empty: not there.
  int http_status_ = 0;
  std::string content_type_;
  std::optional<std::string> grpc_status_;
  std::string grpc_message_;
  std::string message_;  // with its prefix
  bool done_ = false;
  GrpcHealth outcome_;  // when done
};

}  // namespace brume::http
