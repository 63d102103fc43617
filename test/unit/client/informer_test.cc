#include "brume/client/informer.h"

#include <memory>
#include <string>
#include <vector>

#include "brume/base/random.h"
#include "brume/base/task.h"
#include "catch.h"
#include "support/fake_client.h"
#include "support/fake_clock.h"

using namespace brume;
using namespace std::chrono_literals;
using test::settle;

namespace {

/// An informer of pods that writes down what its handlers were told.
struct Bench {
  explicit Bench(client::InformerOptions options = {}) : loop("test"), api(clock) {
    loop.start();
    informer = std::make_unique<client::Informer>(api, api::res("pods"), loop.executor(), clock, std::move(options));
    informer->add_handler({.added = [this](auto& o) { log.push_back("+" + o->name()); },
                           .updated = [this](auto&, auto& o) { log.push_back("~" + o->name()); },
                           .deleted = [this](auto& o) { log.push_back("-" + o->name()); }});
  }
  ~Bench() {
    loop.run_and_wait([this]() -> Task<void> {
      co_await informer->stop();
      informer.reset();
    });
    loop.stop();
  }
  void pod(const std::string& name, const std::string& app = "x") {
    api.seed("pods", {{"metadata", {{"name", name}, {"labels", {{"app", app}}}}}, {"spec", {{"nodeName", app}}}});
  }
  // Break, then let the informer's back-off pass.
  Task<void> cut(Error error) {
    api.break_watches(std::move(error));
    co_await settle(50);
    clock.advance(20s);
    co_await settle(50);
  }
  std::vector<std::string> take() { return std::exchange(log, {}); }

  Loop loop;
  test::FakeClock clock;
  test::FakeClient api;
  std::unique_ptr<client::Informer> informer;
  std::vector<std::string> log;
};

using Log = std::vector<std::string>;

}  // namespace

TEST_CASE("an informer lists, then follows") {
  Bench b;
  b.loop.run_and_wait([&]() -> Task<void> {
    b.pod("a");
    b.pod("b");
    CHECK_FALSE(b.informer->has_synced());
    b.informer->start();
    co_await b.informer->wait_synced();
    CHECK(b.take() == Log{"+a", "+b"});
    b.pod("c");
    b.pod("a", "y");
    b.api.erase("pods", "default", "b");
    co_await settle(50);
    CHECK(b.take() == Log{"+c", "~a", "-b"});
    CHECK(b.informer->size() == 2);
    CHECK(b.informer->get("default", "a")->label("app") == "y");
    CHECK(b.informer->get("default/b") == nullptr);
    CHECK(b.informer->revision() == b.api.revision());
    Log late;
    b.informer->add_handler({.added = [&](auto& o) { late.push_back(o->name()); }, .updated = {}, .deleted = {}});
    CHECK(late == Log{"a", "c"});
  });
}

TEST_CASE("a broken watch resumes without a list, gap or repeat") {
  Bench b;
  b.loop.run_and_wait([&]() -> Task<void> {
    b.pod("a");
    b.informer->start();
    co_await b.informer->wait_synced();
    co_await settle(20);
    b.take();
    b.api.break_watches({.code = Code::kServiceUnavailable, .message = "cut"});
    co_await settle(50);
    b.pod("b");
    b.api.erase("pods", "default", "a");
    CHECK(b.take().empty());
    b.clock.advance(1s);
    co_await settle(50);
    CHECK(b.take() == Log{"+b", "-a"});
    CHECK(b.api.count("list", "pods") == 1);
    CHECK(b.api.count("watch", "pods") == 2);
  });
}

TEST_CASE("an expired watch lists again and makes up the deletes that it missed") {
  Bench b;
  b.loop.run_and_wait([&]() -> Task<void> {
    b.pod("a");
    b.pod("b");
    b.pod("d");
    b.informer->start();
    co_await b.informer->wait_synced();
    co_await settle(20);
    b.take();
    b.api.break_watches({.code = Code::kServiceUnavailable, .message = "cut"});
    co_await settle(50);
    b.api.erase("pods", "default", "a");
    b.pod("b", "new");
    b.pod("c");
    b.api.erase("pods", "default", "d");  // deleted and made anew: another uid
    b.pod("d");
    b.api.compact();
    for (int i = 0; i < 3; ++i) {
      b.clock.advance(1s);
      co_await settle(50);
    }
    CHECK(b.take() == Log{"-a", "~b", "+c", "-d", "+d"});
    CHECK(b.api.count("list", "pods") == 2);
    b.pod("e");
    co_await settle(50);
    CHECK(b.take() == Log{"+e"});
  });
}

TEST_CASE("a failing list is tried again with growing pauses") {
  Bench b;
  b.loop.run_and_wait([&]() -> Task<void> {
    int failures = 6;
    b.api.react([&](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "list" || failures == 0) return std::nullopt;
      --failures;
      return Error{.code = Code::kInternal, .message = "down"};
    });
    b.pod("a");
    b.informer->start();
    co_await settle(20);
    CHECK(failures == 5);
    b.clock.advance(1ms);
    co_await settle(20);
    CHECK(failures == 5);
    for (int i = 0; i < 8; ++i) {
      b.clock.advance(1s);
      co_await settle(20);
    }
    CHECK(b.informer->has_synced());
    CHECK(b.take() == Log{"+a"});
  });
}

TEST_CASE("indexes follow changes") {
  Bench b;
  b.loop.run_and_wait([&]() -> Task<void> {
    b.pod("a", "x");
    b.informer->start();
    co_await b.informer->wait_synced();
    b.informer->add_index(
        "app", [](const api::Object& o, std::vector<std::string>& values) { values.emplace_back(o.label("app")); });
    b.pod("b", "x");
    b.pod("c", "y");
    co_await settle(50);
    CHECK(b.informer->by_index("app", "x").size() == 2);
    b.pod("b", "y");
    co_await settle(50);
    CHECK(b.informer->by_index("app", "x").size() == 1);
    CHECK(b.informer->by_index("app", "y").size() == 2);
    b.api.erase("pods", "default", "a");
    co_await settle(50);
    CHECK(b.informer->by_index("app", "x").empty());
    CHECK(b.informer->by_index("none", "x").empty());
  });
}

TEST_CASE("pages are put together, and a selection sees objects come and go") {
  Bench b({.ns = {}, .label_selector = "app=x", .field_selector = {}, .page_size = 2});
  b.loop.run_and_wait([&]() -> Task<void> {
    for (const char* name : {"a", "b", "c", "d", "e"}) b.pod(name);
    b.pod("other", "y");
    b.informer->start();
    co_await b.informer->wait_synced();
    CHECK(b.informer->size() == 5);
    CHECK(b.api.count("list", "pods") == 3);
    b.take();
    b.pod("other", "x");
    b.pod("a", "y");
    co_await settle(50);
    CHECK(b.take() == Log{"+other", "-a"});
  });
}

TEST_CASE("a projection decodes each version once and forgets old ones") {
  Bench b;
  b.loop.run_and_wait([&]() -> Task<void> {
    int decoded = 0;
    client::Projection<std::string> apps(*b.informer, [&](const api::Object& o) {
      ++decoded;
      return std::string(o.label("app"));
    });
    b.pod("a", "x");
    b.informer->start();
    co_await b.informer->wait_synced();
    CHECK(apps.of(b.informer->get("default/a")) == "x");
    CHECK(apps.of(b.informer->get("default/a")) == "x");
    CHECK(decoded == 1);
    b.pod("a", "y");
    co_await settle(50);
    CHECK(apps.size() == 0);
    CHECK(apps.of(b.informer->get("default/a")) == "y");
    b.api.erase("pods", "default", "a");
    co_await settle(50);
    CHECK(apps.size() == 0);
  });
}

TEST_CASE("a copy kept through breaks, expiries and random writes equals the server's") {
  Bench b;
  b.loop.run_and_wait([&]() -> Task<void> {
    b.informer->start();
    for (int i = 0; i < 400; ++i) {
      const auto name = "p" + std::to_string(random_u64() % 20);
      if (random_u64() % 3 == 0) {
        b.api.erase("pods", "default", name);
      } else {
        b.pod(name, std::to_string(i));
      }
      if (random_u64() % 40 == 0) b.api.compact();
      if (random_u64() % 20 == 0) b.api.break_watches({.code = Code::kServiceUnavailable, .message = "cut"});
      if (random_u64() % 4 == 0) b.clock.advance(1s);
      if (random_u64() % 3 == 0) co_await settle(3);
    }
    for (int i = 0; i < 5; ++i) {
      b.clock.advance(20s);
      co_await settle(50);
    }
    const auto want = b.api.all("pods");
    const auto have = b.informer->list();
    REQUIRE(have.size() == want.size());
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(have[i]->bytes() == want[i]->bytes());
  });
}
