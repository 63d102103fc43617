// What the HTTP tests share: a loop to run on, certificates made on the spot, raw sockets.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "brume/base/task.h"
#include "brume/http/client.h"
#include "brume/http/server.h"
#include "support/waiting.h"

/// CHECK for expressions with co_await, which Catch's own macros cannot hold.
#define CO_CHECK(...)                                     \
  do {                                                    \
    const bool co_check = static_cast<bool>(__VA_ARGS__); \
    INFO(#__VA_ARGS__);                                   \
    CHECK(co_check);                                      \
  } while (false)
#define CO_CHECK_FALSE(...) CO_CHECK(!(__VA_ARGS__))

namespace brume::http::test {

using brume::test::eventually;

/// Runs `body` on a fresh loop and ends it.
void on_test_loop(const std::function<Task<void>()>& body);

struct KeyPair {
  std::string certificate_pem;
  std::string key_pem;
};
struct Subject {
  std::string common_name;
  std::vector<std::string> organizations = {};
  std::string uid = {};
  std::string alt_names = {};  ///< "DNS:localhost,IP:127.0.0.1"
  bool is_ca = false;
  long valid_seconds = 3600;  ///< negative: expired
};
/// ECDSA P-256; self-signed when `issuer` is null.
KeyPair make_certificate(const Subject& subject, const KeyPair* issuer);

/// A server on 127.0.0.1 over the given loops.
std::unique_ptr<Server> serve(Handler handler, const Executor& loop, ServerOptions options = {});
std::string url_of(const Server& server, const std::string& path, const std::string& scheme = "http");

/// Sends `bytes` on a new connection and reads until the server closes (or `until` came). Blocking: call in
/// run_blocking.
std::string raw_exchange(std::uint16_t port, const std::string& bytes, const std::string& until = {});
/// A blocking connection to 127.0.0.1.
int raw_connect(std::uint16_t port);

}  // namespace brume::http::test
