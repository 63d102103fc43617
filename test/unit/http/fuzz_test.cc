// Runs each fuzz target over seeds and their random mutations, so that the targets stay alive without a fuzzer.
#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "catch.h"
#include "spdy_frame.h"
#include "support/http2_frames.h"

#define LLVMFuzzerTestOneInput fuzz_grpc
#include "grpc_fuzz.cc"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_http
#include "http_fuzz.cc"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_spdy
#include "spdy_fuzz.cc"
#undef LLVMFuzzerTestOneInput

namespace {

void mutate_and_run(int (*target)(const std::uint8_t*, std::size_t), const std::vector<std::string>& seeds,
                    int rounds) {
  std::mt19937 random(20240607);  // fixed: a failure must come again
  const auto below = [&](std::size_t limit) { return limit == 0 ? 0 : random() % limit; };
  for (int round = 0; round < rounds; ++round) {
    std::string text = seeds[below(seeds.size())];
    for (std::size_t edits = round < static_cast<int>(seeds.size()) ? 0 : 1 + below(6); edits > 0 && !text.empty();
         --edits) {
      const auto at = below(text.size());
      switch (below(4)) {
        case 0: text[at] = static_cast<char>(random()); break;
        case 1: text.erase(at, 1 + below(8)); break;
        case 2: text.insert(at, 1, static_cast<char>(random())); break;
        default: text.insert(at, seeds[below(seeds.size())].substr(0, below(40))); break;
      }
    }
    target(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  }
  CHECK(rounds > 0);  // getting here is the result
}

}  // namespace

TEST_CASE("HTTP parsing holds under mutated input") {
  mutate_and_run(fuzz_http,
                 {"GET /api//v1/../x%2fy?a=b&c=%20 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
                  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n",
                  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
                  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "a=b&c=d+e&f=%41", "/a/./b/../..//c/%2e%2e"},
                 4000);
}

TEST_CASE("SPDY sessions hold under mutated input") {
  std::string session;
  brume::http::spdy::HeaderWriter writer;
  std::string payload("\0\0\0\1\0\0\0\0\0\0", 10);
  payload += writer.write({{"streamtype", "stdin"}});
  brume::http::spdy::append_control(session, brume::http::spdy::Type::kSynStream, 0, payload);
  brume::http::spdy::append_data(session, 1, 0, "some bytes");
  std::string control;
  using brume::http::spdy::Type;
  brume::http::spdy::append_control(control, Type::kSettings, 0, std::string("\0\0\0\1\0\0\0\7\0\1\0\0", 12));
  brume::http::spdy::append_control(control, Type::kWindowUpdate, 0, std::string("\0\0\0\1\0\0\1\0", 8));
  brume::http::spdy::append_control(control, Type::kPing, 0, std::string("\0\0\0\1", 4));
  brume::http::spdy::append_control(control, Type::kRstStream, 0, std::string("\0\0\0\1\0\0\0\5", 8));
  mutate_and_run(fuzz_spdy, {session, session + control, control}, 600);
}

TEST_CASE("answers to a gRPC call hold under mutated input") {
  using namespace brume::test::http2;
  const std::string half = kSettings + headers(grpc_fields());
  mutate_and_run(fuzz_grpc,
                 {half + data_frame(message("\x08\x01")) + trailers("0"),
                  half + data_frame("\0\0") + data_frame("\0\0\2\x08\2") + goaway(2),
                  kSettings + headers(grpc_fields({{"grpc-status", "12"}, {"grpc-message", "no%20such"}}), true),
                  kSettings + reset(8)},
                 4000);
}
