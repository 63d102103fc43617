// One accepted connection: reads requests, runs the handler for each, and is the Exchange that the handler sees.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "brume/base/task.h"
#include "brume/http/server.h"
#include "deadline.h"
#include "http1_parser.h"
#include "socket_stream.h"

namespace brume::http {

/// What the connections of one server share; outlives them.
struct ServerShared {
  ServerOptions options;
  Handler handler;
  std::atomic<std::shared_ptr<const TlsContext>> tls;  ///< null: plain HTTP
  std::atomic<std::size_t> connections = 0;
};

/// Owner: one loop. Lives until `on_end` was called and its tasks() are drained.
class Connection final : public Exchange {
 public:
  Connection(ServerShared& shared, const Executor& executor, int fd, std::string peer_address,
             std::function<void(Connection*)> on_end);
  ~Connection() override;
  void start();
  TaskGroup& tasks() { return tasks_; }

  // Exchange
  [[nodiscard]] const Request& request() const override { return request_; }
  Task<Result<std::string>> read_body(std::size_t limit) override;
  Task<Status> respond(Response response) override;
  Task<Result<std::unique_ptr<BodyWriter>>> respond_stream(int status, Headers headers) override;
  [[nodiscard]] bool wants_websocket() const override;
  [[nodiscard]] std::vector<std::string> websocket_protocols() const override;
  Task<Result<std::unique_ptr<WebSocket>>> accept_websocket(std::string protocol) override;
  Task<Result<std::unique_ptr<BodyWriter>>> respond_websocket(std::string protocol, SocketBody how) override;
  Task<Result<std::unique_ptr<Stream>>> upgrade(Headers headers) override;

 private:
  class ChunkWriter;
  friend class ChunkWriter;
  class MessageWriter;
  struct BodySocket;

  Task<void> run();
  Task<bool> start_tls();
  /// Reads one request head into request_; false when the connection must end (an answer was sent where one is due).
  Task<bool> read_head();
  Task<Status> await_head_bytes(bool first_byte);
  Task<void> refuse(int status, std::string_view message);
  Task<void> run_handler();
  Task<Status> drain_body();
  /// More bytes into in_; kCancelled at the end of the stream.
  Task<Status> fill();
  Task<Result<std::size_t>> feed_parser();
  Task<Status> read_sized_body(std::string& body, std::size_t size);
  Task<Status> send(std::string_view bytes);
  Task<Status> send(std::span<const std::string_view> pieces);
  Task<Status> send_parts(std::span<std::string_view> pieces);
  Task<Status> send_continue();
  Status begin_answer();
  void end_head(std::string& out);
  std::string_view pending() const { return std::string_view(in_).substr(in_at_); }
  void consume(std::size_t count);
  std::unique_ptr<Stream> take_transport();
  Task<void> watch_peer();
  Task<Result<std::unique_ptr<WebSocket>>> open_websocket(std::string protocol, std::size_t max_message);
  Task<void> watch_socket(std::shared_ptr<BodySocket> body);
  Task<void> stop_watching();

  ServerShared& shared_;
  Executor executor_;
  TaskGroup tasks_;
  std::function<void(Connection*)> on_end_;
  std::unique_ptr<SocketStream> transport_;
  Deadline deadline_;
  Condition watch_ended_;
  std::string in_;  // bytes read and not yet used begin at in_at_
  std::size_t in_at_ = 0;
  std::string out_;     // reused for every head
  Http1Parser parser_;  // of the request that is being read
  Request request_;
  int version_ = 11;
  std::optional<std::uint64_t> body_left_;  // of a body with Content-Length: bytes not yet read
  bool body_done_ = true;
  bool expects_continue_ = false;
  bool keep_alive_ = true;
  bool answered_ = false;
  bool head_request_ = false;
  bool watching_ = false;
  bool watcher_running_ = false;
};

}  // namespace brume::http
