#include <nghttp2/nghttp2.h>

#include <cstring>
#include <map>

#include "brume/http/grpc_health.h"
#include "catch.h"
#include "grpc_call.h"
#include "support.h"
#include "support/http2_frames.h"
#include "support/scripted_server.h"

using namespace brume;
using namespace brume::http;
using namespace brume::http::test;
using namespace brume::test::http2;
using namespace std::chrono_literals;
using brume::test::ScriptedServer;

namespace {

std::string all_output(GrpcHealthCall& call) {
  std::string out;
  for (std::string part = call.output(); !part.empty(); part = call.output()) out += part;
  return out;
}

// What the client makes of a server's bytes, read `step` at a time, and then the end.
Result<GrpcHealth> read_answer(const std::string& bytes, std::size_t step) {
  GrpcHealthCall call("127.0.0.1:1", "", 1s);
  (void)all_output(call);
  for (std::size_t at = 0; at < bytes.size() && !call.done(); at += step) {
    call.input(std::string_view(bytes).substr(at, step));
    (void)all_output(call);
  }
  if (!call.done()) call.lost("EOF");
  return call.result();
}

void check_answer(const std::string& bytes, int status, const std::string& text, std::optional<int> serving = {}) {
  for (const std::size_t step : {bytes.size(), std::size_t{1}, std::size_t{10}}) {
    const auto answer = read_answer(bytes, step);
    INFO(text << ", " << step << " bytes at a time" << (answer ? "" : ": " + answer.error().message));
    REQUIRE(answer);
    CHECK(answer->grpc_status == status);
    CHECK(answer->grpc_message == text);
    CHECK(answer->serving_status == serving);
  }
}

/// nghttp2's own server end: keeps the request and answers it.
struct LibraryServer {
  LibraryServer() {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(
        callbacks, [](nghttp2_session*, const nghttp2_frame*, const std::uint8_t* name, std::size_t name_size,
                      const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* user) {
          static_cast<LibraryServer*>(user)->fields[text(name, name_size)] = text(value, value_size);
          return 0;
        });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        callbacks,
        [](nghttp2_session*, std::uint8_t, std::int32_t, const std::uint8_t* bytes, std::size_t size, void* user) {
          static_cast<LibraryServer*>(user)->body += text(bytes, size);
          return 0;
        });
    nghttp2_session_callbacks_set_on_frame_recv_callback(
        callbacks, [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
          auto* self = static_cast<LibraryServer*>(user);
          if (frame->hd.type == NGHTTP2_DATA && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) self->answer();
          return 0;
        });
    nghttp2_session_server_new(&session, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session, 0, nullptr, 0);
  }
  ~LibraryServer() { nghttp2_session_del(session); }
  LibraryServer(const LibraryServer&) = delete;
  LibraryServer& operator=(const LibraryServer&) = delete;

  static std::string text(const std::uint8_t* bytes, std::size_t size) {
    return {reinterpret_cast<const char*>(bytes), size};
  }
  static nghttp2_nv field(const char* name, const char* value) {
    const auto bytes = [](const char* t) { return reinterpret_cast<std::uint8_t*>(const_cast<char*>(t)); };
    return {bytes(name), bytes(value), std::strlen(name), std::strlen(value), NGHTTP2_NV_FLAG_NONE};
  }

  void answer() {
    const std::array head = {field(":status", "200"), field("content-type", "application/grpc+proto")};
    nghttp2_data_provider source{};
    source.read_callback = [](nghttp2_session* s, std::int32_t stream, std::uint8_t* buffer, std::size_t,
                              std::uint32_t* flags, nghttp2_data_source*, void*) -> ssize_t {
      const std::string bytes = message("\x08\x01");
      std::copy(bytes.begin(), bytes.end(), buffer);
      *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
      const std::array trailer = {field("grpc-status", "0")};
      nghttp2_submit_trailer(s, stream, trailer.data(), trailer.size());
      return static_cast<ssize_t>(bytes.size());
    };
    nghttp2_submit_response(session, 1, head.data(), head.size(), &source);
  }

  // Carries bytes both ways until there are none; false when the library finds fault with the client's.
  bool exchange(GrpcHealthCall& call) {
    while (true) {
      const std::string sent = all_output(call);
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(sent.data());
      if (nghttp2_session_mem_recv(session, bytes, sent.size()) != static_cast<ssize_t>(sent.size())) return false;
      const std::uint8_t* reply = nullptr;
      std::string received;
      for (ssize_t size = 0; (size = nghttp2_session_mem_send(session, &reply)) > 0;)
        received += text(reply, static_cast<std::size_t>(size));
      if (sent.empty() && received.empty()) return true;
      call.input(received);
    }
  }

  nghttp2_session* session = nullptr;
  std::map<std::string, std::string> fields;
  std::string body;
};

Result<GrpcHealth> ask(const std::function<void(int)>& script, std::chrono::milliseconds timeout = 10s) {
  ScriptedServer server(script);
  std::optional<Result<GrpcHealth>> out;
  on_test_loop(
      [&]() -> Task<void> { out.emplace(co_await check_grpc_health("127.0.0.1", server.port(), "", timeout)); });
  return *out;
}

}  // namespace

TEST_CASE("the gRPC health request is what a server expects") {
  for (const std::size_t size : {std::size_t{0}, std::size_t{3}, std::size_t{300}, std::size_t{200'000}}) {
    const std::string service(size, 's');
    GrpcHealthCall call("10.0.0.1:5000", service, 1500ms);
    LibraryServer server;
    REQUIRE(server.exchange(call));
    CHECK(server.fields == std::map<std::string, std::string>{{":method", "POST"},
                                                              {":scheme", "http"},
                                                              {":path", "/grpc.health.v1.Health/Check"},
                                                              {":authority", "10.0.0.1:5000"},
                                                              {"content-type", "application/grpc"},
                                                              {"user-agent", "kube-probe/1.36"},
                                                              {"te", "trailers"},
                                                              {"grpc-timeout", "1500m"}});
    const std::string head = size == 0     ? ""
                             : size == 3   ? "\x0a\x03"
                             : size == 300 ? "\x0a\xac\x02"
                                           : "\x0a\xc0\x9a\x0c";
    CHECK(server.body == message(head + service));
    REQUIRE(call.done());
    const auto answer = call.result();
    REQUIRE(answer);
    CHECK(answer->serving_status == GrpcHealth::kServing);
  }
}

TEST_CASE("gRPC health answers") {
  check_answer(health_answer(1), 0, "", 1);
  check_answer(health_answer(2), 0, "", 2);
  check_answer(health_answer(9), 0, "", 9);
  const std::string begin = kSettings + headers(grpc_fields());
  check_answer(begin + data_frame(message("")) + trailers("0"), 0, "", 0);
  // Over several frames, after a 103, with fields of a later version, with the status in the headers.
  const std::string whole = message(std::string("\x08\x01"));
  std::string split = kSettings + headers({{":status", "103"}}) + headers(grpc_fields());
  for (const char byte : whole) split += data_frame(std::string(1, byte)) + data_frame("");
  check_answer(split + trailers("0"), 0, "", 1);
  const std::string fields(
      "\x12\x02hi\x19"
      "12345678"
      "\x25"
      "1234"
      "\x28\xff\x01\x08\x02");
  check_answer(begin + data_frame(message(fields)) + trailers("0"), 0, "", 2);
  check_answer(kSettings + headers(grpc_fields({{"grpc-status", "0"}})) + data_frame(whole, true), 0, "", 1);

  check_answer(kSettings + headers(grpc_fields({{"grpc-status", "12"}, {"grpc-message", "unknown service"}}), true), 12,
               "unknown service");
  check_answer(begin + headers({{"grpc-status", "5"}, {"grpc-message", "%e2%82%AC%2 %zz 100%"}}, true), 5,
               "\xe2\x82\xac%2 %zz 100%");
  check_answer(begin + headers({{"grpc-status", "5"}, {"grpc-message", "bad%ff"}}, true), 5, "bad?");
  check_answer(begin + trailers("4"), 4, "");
}

TEST_CASE("gRPC health answers that are wrong") {
  const std::string begin = kSettings + headers(grpc_fields());
  const std::string whole = message("\x08\x01");
  const auto error = [](const std::string& text) { return "connection error: desc = \"error reading " + text + '"'; };
  check_answer(begin + trailers("x"), 2, "transport: malformed grpc-status: \"x\"");
  check_answer(begin + trailers("-1"), 2, "transport: malformed grpc-status: \"-1\"");
  check_answer(begin + data_frame(whole, true), 13, "server closed the stream without sending trailers");
  check_answer(begin + trailers("0"), 13,
               "cardinality violation: received no response message from non-server-streaming RPC");
  check_answer(begin + data_frame(whole + whole) + trailers("0"), 13,
               "cardinality violation: expected <EOF> for non server-streaming RPCs, but received another message");
  check_answer(begin + data_frame(whole.substr(0, 6)) + trailers("0"), 13, "unexpected EOF");
  check_answer(begin + data_frame(whole.substr(0, 3)) + trailers("0"), 13, "unexpected EOF");
  check_answer(begin + data_frame(std::string("\1\0\0\0\0", 5)), 13,
               "grpc: compressed flag set with identity or empty encoding");
  check_answer(begin + data_frame(std::string("\0\xff\xff\xff\xff", 5)), 8,
               "grpc: received message larger than max (4294967295 vs. 4096)");
  for (const std::string& bad : {std::string("\x08"), std::string("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"),
                                 std::string("\x0b"), std::string("\0\1", 2), std::string("\x12\x09x"),
                                 std::string("\x19x"), std::string("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\1")}) {
    check_answer(begin + data_frame(message(bad)) + trailers("0"), 13,
                 "grpc: failed to unmarshal the received message");
  }
  check_answer(kSettings + headers({{":status", "404"}, {"content-type", "text/plain"}}), 12,
               "unexpected HTTP status code received from server: 404; transport: received unexpected content-type "
               "\"text/plain\"");
  check_answer(kSettings + headers({{":status", "503"}}, true), 14,
               "unexpected HTTP status code received from server: 503; malformed header: missing HTTP content-type");
  check_answer(begin + reset(8), 1, "stream terminated by RST_STREAM with error code: CANCEL");
  check_answer(kSettings + reset(7), 14, "stream terminated by RST_STREAM with error code: REFUSED_STREAM");
  check_answer(kSettings + goaway(11, 0), 14,
               "the stream is rejected because server is draining the connection; goaway code: ENHANCE_YOUR_CALM");
  check_answer(kSettings + goaway(0), 14, error("from server: EOF") + ", received prior goaway: code: NO_ERROR");
  check_answer(kSettings, 14, error("from server: EOF"));
  check_answer(begin + data_frame(whole), 14, error("from server: EOF"));
  // A trailing part that is no trailer, and a response without a status.
  const std::string violation = error("from server: Violation in HTTP messaging rule");
  check_answer(begin + headers({{"grpc-status", "0"}}), 14, violation);
  check_answer(kSettings + headers({{"content-type", "application/grpc"}}, true), 14, violation);
  // Frames of a size that their kind cannot have, before the end and after it: nghttp2 can abort over those that follow
  // the session's end.
  const std::string bad_frames = frame(6, 0, 0, "123") + frame(3, 0, 1, "1") + frame(6, 0, 0, "123");
  check_answer(health_answer(1) + bad_frames, 0, "", 1);
  check_answer(begin + reset(8) + bad_frames, 1, "stream terminated by RST_STREAM with error code: CANCEL");
  check_answer(begin + data_frame(std::string("\1\0\0\0\0", 5)) + bad_frames, 13,
               "grpc: compressed flag set with identity or empty encoding");
  for (const std::string& bytes : {begin + bad_frames, kSettings + frame(7, 0, 0, "1") + bad_frames}) {
    const auto answer = read_answer(bytes, bytes.size());
    REQUIRE(answer);
    CHECK(answer->grpc_status == 14);
  }
}

TEST_CASE("what a gRPC server may send has bounds") {
  std::string pings = kSettings;
  while (pings.size() < 300 * 1024) pings += frame(6, 0, 0, "12345678");
  auto answer = read_answer(pings, 4096);
  REQUIRE(answer);
  CHECK(answer->grpc_status == 14);
  CHECK(answer->grpc_message == "connection error: desc = \"error reading from server: the server sent too much\"");

  std::string block = kSettings;
  const std::string header = headers(grpc_fields(Fields(100, {"x", std::string(100, 'y')})));
  for (int i = 0; i < 20; ++i) block += headers({{":status", "103"}, {"x", std::string(100, 'y')}});
  answer = read_answer(block + header + headers(Fields(140, {"x", std::string(100, 'y')}), true), 4096);
  REQUIRE(answer);
  CHECK(answer->grpc_message == "the server's headers are too long");

  answer = read_answer("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", 4096);
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code == Code::kServiceUnavailable);
  CHECK(answer.error().message.starts_with("connection error: desc = \"error reading server preface: Remote peer"));
}

TEST_CASE("gRPC health over a socket") {
  auto answer = ask(ScriptedServer::closing_after(health_answer(1)));
  REQUIRE(answer);
  CHECK(answer->serving_status == 1);
  answer = ask(ScriptedServer::saying(health_answer(2)));
  REQUIRE(answer);
  CHECK(answer->serving_status == 2);
  answer = ask([](int fd) { (void)ScriptedServer::send(fd, health_answer(1)); });  // and closes with the request unread
  if (answer) CHECK((answer->serving_status == 1 || answer->grpc_status == 14));

  answer = ask(ScriptedServer::closing_after(""));
  REQUIRE_FALSE(answer);
  CHECK(answer.error().message == "connection error: desc = \"error reading server preface: EOF\"");
  answer = ask([](int) {});
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code == Code::kServiceUnavailable);
  answer = ask(ScriptedServer::closing_after("SSH-2.0-OpenSSH_9.2\r\n"));
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code == Code::kServiceUnavailable);
  answer = ask(ScriptedServer::closing_after(kSettings));
  REQUIRE(answer);
  CHECK(answer->grpc_status == 14);
}

TEST_CASE("gRPC health ends at its deadline") {
  auto answer = ask(ScriptedServer::saying(""), 100ms);
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code == Code::kTimeout);
  answer = ask(ScriptedServer::saying(kSettings + headers(grpc_fields())), 100ms);
  REQUIRE(answer);
  CHECK(answer->grpc_status == GrpcHealth::kDeadlineExceeded);
  // A drip that never ends, and a flood.
  answer = ask(
      [](int fd) {
        while (ScriptedServer::send(fd, kSettings)) ::usleep(5000);
      },
      100ms);
  REQUIRE(answer);
  CHECK(answer->grpc_status == GrpcHealth::kDeadlineExceeded);
  answer = ask([](int fd) {
    std::string pings = kSettings;
    while (pings.size() < 64 * 1024) pings += frame(6, 0, 0, "12345678");
    while (ScriptedServer::send(fd, pings)) pings.erase(0, kSettings.size());
  });
  REQUIRE(answer);
  CHECK(answer->grpc_status == 14);
}

TEST_CASE("gRPC health without a server, and a task that is cancelled") {
  on_test_loop([]() -> Task<void> {
    auto answer = co_await check_grpc_health("127.0.0.1", 1, "", 1s);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().message == "connect to 127.0.0.1:1: Connection refused");
    answer = co_await check_grpc_health("", 1, "", 1s);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == Code::kInvalid);
    answer = co_await check_grpc_health("name.example", 1, "", 1s);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == Code::kInvalid);
  });
  ScriptedServer silent(ScriptedServer::saying(kSettings));
  on_test_loop([&]() -> Task<void> {
    TaskGroup group(co_await boost::asio::this_coro::executor);
    const auto call = [&]() -> Task<void> { (void)co_await check_grpc_health("127.0.0.1", silent.port(), "", 10s); };
    group.spawn("call", call());
    co_await sleep_for(50ms);
    co_await group.stop();
  });
}

TEST_CASE("names of gRPC codes and statuses") {
  CHECK(grpc_code_name(0) == "OK");
  CHECK(grpc_code_name(16) == "Unauthenticated");
  CHECK(grpc_code_name(17) == "Code(17)");
  CHECK(grpc_code_name(-1) == "Code(-1)");
  CHECK(grpc_serving_status_name(2) == "NOT_SERVING");
  CHECK(grpc_serving_status_name(-4) == "-4");
}
