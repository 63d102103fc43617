// What the tests of the registry and the request chain share: a registry over the memory store on a loop, allow-all
// gates, exchanges without a network.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../../../src/apiserver/access.h"
#include "brume/apiserver/registry.h"
#include "brume/apiserver/server.h"
#include "brume/base/clock.h"
#include "brume/base/json.h"
#include "brume/base/task.h"
#include "brume/store/store.h"
#include "catch.h"

namespace brume::apiserver::core_test {

/// Runs `body` on a loop of its own with a registry over `store`; rethrows what a REQUIRE threw there.
class Fixture {
 public:
  explicit Fixture(RegistryOptions options = {}, Clock& clock = system_clock())
      : loop("test"), store(store::open_memory()) {
    loop.start();
    run([this, options, &clock]() -> Task<void> {
      auto opened = co_await Registry::open(*store, options, clock);
      if (opened) registry = std::move(*opened);
    });
    REQUIRE(registry != nullptr);
  }
  ~Fixture() {
    run([this]() -> Task<void> {
      registry.reset();
      (void)co_await store->close();
    });
    loop.stop();
  }

  void run(std::function<Task<void>()> body) {
    std::exception_ptr error;
    loop.run_and_wait([&]() -> Task<void> {
      try {
        co_await body();
      } catch (...) {
        error = std::current_exception();
      }
    });
    if (error) std::rethrow_exception(error);
  }

  Loop loop;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<Registry> registry;
};

inline Json json(std::string_view text) {
  auto value = parse_json(text);
  if (!value) throw std::runtime_error(value.error().message + ": " + std::string(text));
  return std::move(*value);
}

inline Json pod(std::string name, std::string node = "", std::string labels = "{}") {
  Json out = json(R"({"metadata":{},"spec":{"containers":[{"name":"c","image":"busybox"}]}})");
  out["metadata"]["name"] = std::move(name);
  out["metadata"]["labels"] = json(labels);
  if (!node.empty()) out["spec"]["nodeName"] = std::move(node);
  return out;
}

inline Json config_map(std::string name, std::string value = "1") {
  Json out = json(R"({"metadata":{},"data":{}})");
  out["metadata"]["name"] = std::move(name);
  out["data"]["k"] = std::move(value);
  return out;
}

inline const api::Resource& pods() { return api::res("pods"); }
inline const api::Resource& config_maps() { return api::res("configmaps"); }
inline const api::Resource& deployments() { return api::res("deployments.apps"); }
inline const api::Resource& services() { return api::res("services"); }

/// The message of a failed result, "" of a good one.
template <typename T>
std::string why(const Result<T>& result) {
  return result ? std::string() : result.error().message;
}

class AllowAll : public Authenticator, public Authorizer {
 public:
  Task<Result<User>> authenticate(const http::Request& request) override {
    if (request.headers.get("Authorization") == "Bearer bad") co_return fail(Code::kUnauthorized, "no");
    User user;
    user.name = "tester";
    user.groups = {"system:masters"};
    co_return user;
  }
  [[nodiscard]] Decision authorize(const Attributes& attributes) const override {
    asked.push_back(attributes);
    return {attributes.verb != denied_verb, ""};
  }
  std::string denied_verb;
  mutable std::vector<Attributes> asked;
};

/// An exchange whose answer is kept; a streamed body can be read while it grows.
class FakeExchange : public http::Exchange {
 public:
  FakeExchange(std::string method, std::string target, std::string body_in = "", http::Headers headers = {})
      : body(std::move(body_in)) {
    request_.method = std::move(method);
    request_.target = target;
    const auto mark = target.find('?');
    request_.path = target.substr(0, mark);
    if (mark != std::string::npos) request_.query = *http::Query::parse(target.substr(mark + 1));
    request_.headers = std::move(headers);
    request_.peer_address = "127.0.0.1";
  }
  void come_from(std::string address) { request_.peer_address = std::move(address); }
  [[nodiscard]] const http::Request& request() const override { return request_; }
  Task<Result<std::string>> read_body(std::size_t limit) override {
    if (body.size() > limit) co_return fail(Code::kRequestEntityTooLarge, "Request entity too large: limit is 3145728");
    co_return body;
  }
  Task<Status> respond(http::Response response_in) override {
    response = std::move(response_in);
    for (const auto piece : response.more) response.body += piece;
    response.more.clear();
    answered = true;
    co_return Status{};
  }
  Task<Result<std::unique_ptr<http::BodyWriter>>> respond_stream(int status, http::Headers headers) override {
    response.status = status;
    response.headers = std::move(headers);
    answered = true;
    co_return std::unique_ptr<http::BodyWriter>(std::make_unique<Writer>(*this));
  }
  [[nodiscard]] bool wants_websocket() const override { return false; }
  [[nodiscard]] std::vector<std::string> websocket_protocols() const override { return {}; }
  Task<Result<std::unique_ptr<http::WebSocket>>> accept_websocket(std::string) override {
    co_return fail(Code::kInternal, "none");
  }
  Task<Result<std::unique_ptr<http::BodyWriter>>> respond_websocket(std::string, http::SocketBody) override {
    co_return fail(Code::kInternal, "none");
  }
  Task<Result<std::unique_ptr<http::Stream>>> upgrade(http::Headers) override {
    co_return fail(Code::kInternal, "none");
  }

  [[nodiscard]] Json answer() const { return json(response.body); }
  /// The lines streamed so far.
  [[nodiscard]] std::vector<Json> lines() const {
    std::vector<Json> out;
    std::size_t at_byte = 0;
    for (std::size_t end; (end = response.body.find('\n', at_byte)) != std::string::npos; at_byte = end + 1) {
      out.push_back(json(std::string_view(response.body).substr(at_byte, end - at_byte)));
    }
    return out;
  }

  std::string body;
  http::Response response;
  bool answered = false, finished = false;

 private:
  class Writer : public http::BodyWriter {
   public:
    explicit Writer(FakeExchange& owner) : owner_(owner) {}
    Task<Status> write(std::string_view bytes) override {
      owner_.response.body += bytes;
      co_return Status{};
    }
    Task<Status> finish() override {
      owner_.finished = true;
      co_return Status{};
    }

   private:
    FakeExchange& owner_;
  };
  http::Request request_;
};

}  // namespace brume::apiserver::core_test
