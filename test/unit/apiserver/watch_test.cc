#include "../../../src/apiserver/watch_cache.h"
#include "core_fixture.h"

using namespace brume;
using namespace brume::apiserver;
using namespace brume::apiserver::core_test;
using Type = WatchEvent::Type;

namespace {

constexpr auto kSoon = std::chrono::seconds(2);

// Takes events until `count` came; fewer when none come for a while.
Task<std::vector<WatchEvent>> take(WatchStream& stream, std::size_t count) {
  std::vector<WatchEvent> out;
  while (out.size() < count) {
    auto events = co_await stream.next(kSoon);
    if (!events || events->empty()) break;
    for (auto& event : *events) out.push_back(std::move(event));
  }
  co_return out;
}

std::string names(const std::vector<WatchEvent>& events) {
  std::string out;
  for (const auto& event : events) {
    const char* type = event.type == Type::kAdded      ? "+"
                       : event.type == Type::kModified ? "~"
                       : event.type == Type::kDeleted  ? "-"
                                                       : "#";
    out += (out.empty() ? "" : " ") + std::string(type) + (event.object ? event.object->name() : "");
  }
  return out;
}

Task<std::int64_t> add(Registry& registry, std::string name, std::string labels = "{}") {
  Json body = config_map(name);
  body["metadata"]["labels"] = json(labels);
  auto made = co_await registry.create(config_maps(), "default", body, {});
  if (!made) throw std::runtime_error(made.error().message);
  co_return (*made)->resource_version();
}

}  // namespace

TEST_CASE("watch from now, from a revision, from the state") {
  Fixture f;
  f.run([&]() -> Task<void> {
    const auto first = co_await add(*f.registry, "a");
    (void)co_await add(*f.registry, "b");
    WatchQuery from{.resource_version = std::to_string(first)};
    auto resumed = co_await f.registry->watch(config_maps(), from);
    auto state = co_await f.registry->watch(config_maps(), WatchQuery{});
    REQUIRE(resumed);
    REQUIRE(state);
    (void)co_await add(*f.registry, "c");
    REQUIRE(co_await f.registry->patch(config_maps(), "default", "a", "", PatchType::kMerge,
                                       json(R"({"data":{"k":"9"}})"), {}));
    REQUIRE(co_await f.registry->remove(config_maps(), "default", "b", {}, {}));
    CHECK(names(co_await take(**resumed, 4)) == "+b +c ~a -b");
    auto seen = co_await take(**state, 5);
    CHECK(names(seen) == "+a +b +c ~a -b");
    // A delete carries the last state under the delete's own revision.
    CHECK(seen.back().object->resource_version() == seen.back().revision);
    CHECK(seen.back().revision == f.registry->revision());
    CHECK(f.registry->watch_count(config_maps()) == 2);
    resumed->reset();
    CHECK(f.registry->watch_count(config_maps()) == 1);
  });
}

TEST_CASE("selectors turn changes into additions and deletions") {
  Fixture f;
  f.run([&]() -> Task<void> {
    WatchQuery query{.label_selector = "on=yes"};
    auto stream = co_await f.registry->watch(config_maps(), query);
    REQUIRE(stream);
    const auto before = f.registry->revision();
    (void)co_await add(*f.registry, "a", R"({"on":"no"})");
    const auto label = [&](const char* value) {
      return f.registry->patch(config_maps(), "default", "a", "", PatchType::kMerge,
                               json(std::string(R"({"metadata":{"labels":{"on":")") + value + "\"}}}"), {});
    };
    REQUIRE(co_await label("yes"));
    REQUIRE(co_await f.registry->patch(config_maps(), "default", "a", "", PatchType::kMerge,
                                       json(R"({"data":{"x":"y"}})"), {}));
    REQUIRE(co_await label("no"));
    REQUIRE(co_await f.registry->remove(config_maps(), "default", "a", {}, {}));
    (void)co_await add(*f.registry, "end", R"({"on":"yes"})");
    auto seen = co_await take(**stream, 4);
    CHECK(names(seen) == "+a ~a -a +end");
    CHECK(seen.at(2).object->label("on") == "yes");  // as it was when it left
    CHECK(seen.at(2).object->resource_version() == seen.at(2).revision);
    // The same out of the ring.
    query.resource_version = std::to_string(before == 0 ? 1 : before);
    auto again = co_await f.registry->watch(config_maps(), query);
    CHECK(names(co_await take(**again, 4)) == "+a ~a -a +end");
    WatchQuery one{.ns = "default", .field_selector = "metadata.name=end"};
    auto named = co_await f.registry->watch(config_maps(), one);
    CHECK(names(co_await take(**named, 1)) == "+end");
  });
}

TEST_CASE("sendInitialEvents ends with a marked bookmark") {
  Fixture f;
  f.run([&]() -> Task<void> {
    (void)co_await add(*f.registry, "b");
    (void)co_await add(*f.registry, "a");
    WatchQuery query{.resource_version_match = "NotOlderThan", .send_initial_events = true, .allow_bookmarks = true};
    auto stream = co_await f.registry->watch(config_maps(), query);
    REQUIRE(stream);
    auto seen = co_await take(**stream, 3);
    CHECK(names(seen) == "+a +b #");
    CHECK(seen.back().initial_events_end);
    CHECK(seen.back().revision == f.registry->revision());
    CHECK((*stream)->progress() == f.registry->revision());
    (void)co_await add(*f.registry, "c");
    CHECK(names(co_await take(**stream, 1)) == "+c");
    query.resource_version_match.clear();
    CHECK(why(co_await f.registry->watch(config_maps(), query)).find("sendInitialEvents requires setting") !=
          std::string::npos);
  });
}

TEST_CASE("a restart keeps what a watch needs, without gap or repeat") {
  Fixture f;
  f.run([&]() -> Task<void> {
    const auto first = co_await add(*f.registry, "a");
    (void)co_await add(*f.registry, "b");
    REQUIRE(co_await f.registry->remove(config_maps(), "default", "a", {}, {}));
    f.registry.reset();
    auto opened = co_await Registry::open(*f.store, {}, system_clock());
    REQUIRE(opened);
    f.registry = std::move(*opened);
    (void)co_await add(*f.registry, "c");
    auto stream = co_await f.registry->watch(config_maps(), WatchQuery{.resource_version = std::to_string(first)});
    REQUIRE(stream);
    auto seen = co_await take(**stream, 3);
    CHECK(names(seen) == "+b -a +c");
    auto page = co_await f.registry->list(config_maps(), {});
    CHECK(page.value().items.size() == 2);
  });
}

TEST_CASE("what history has lost is expired") {
  Fixture f;
  f.run([&]() -> Task<void> {
    const auto first = co_await add(*f.registry, "a");
    (void)co_await add(*f.registry, "b");
    const auto lease = co_await f.registry->create(api::res("leases.coordination.k8s.io"), "default",
                                                   json(R"({"metadata":{"name":"l"},"spec":{}})"), {});
    REQUIRE(lease);
    REQUIRE(co_await f.store->compact(f.store->revision()));
    f.registry.reset();
    auto opened = co_await Registry::open(*f.store, {}, system_clock());
    REQUIRE(opened);
    f.registry = std::move(*opened);
    auto stream = co_await f.registry->watch(config_maps(), WatchQuery{.resource_version = std::to_string(first)});
    CHECK(stream.error().code == Code::kExpired);
    CHECK(why(stream).starts_with("too old resource version: "));
    auto leases = co_await f.registry->watch(api::res("leases.coordination.k8s.io"),
                                             WatchQuery{.resource_version = std::to_string(first)});
    CHECK(leases.error().code == Code::kExpired);
  });
}

TEST_CASE("lists: pages of one revision, selectors, exact and expired revisions") {
  Fixture f;
  f.run([&]() -> Task<void> {
    for (const char* name : {"a", "b", "c", "d", "e"}) {
      (void)co_await add(*f.registry, name, std::string(R"({"n":")") + name + "\"}");
    }
    ListQuery query{.ns = "default", .limit = 2};
    auto page = co_await f.registry->list(config_maps(), query);
    REQUIRE(page);
    CHECK(page->items.size() == 2);
    CHECK(page->remaining == 3);
    CHECK(!page->continue_token.empty());
    const auto revision = page->resource_version;
    // What happens between pages is not seen by later pages.
    REQUIRE(co_await f.registry->remove(config_maps(), "default", "d", {}, {}));
    (void)co_await add(*f.registry, "cc");
    std::string seen;
    while (!page->continue_token.empty()) {
      query.continue_token = page->continue_token;
      page = co_await f.registry->list(config_maps(), query);
      REQUIRE(page);
      CHECK(page->resource_version == revision);
      for (const auto& object : page->items) seen += object->name();
    }
    CHECK(seen == "cde");
    ListQuery exact{.resource_version = std::to_string(revision), .resource_version_match = "Exact"};
    CHECK((co_await f.registry->list(config_maps(), exact)).value().items.size() == 5);
    CHECK((co_await f.registry->list(config_maps(), {})).value().items.size() == 5);  // less d, plus cc
    ListQuery selected{.label_selector = "n in (a,e)"};
    CHECK((co_await f.registry->list(config_maps(), selected)).value().items.size() == 2);
    ListQuery other{.ns = "other"};
    CHECK((co_await f.registry->list(config_maps(), other)).value().items.empty());
    ListQuery garbage{.continue_token = "!!"};
    CHECK((co_await f.registry->list(config_maps(), garbage)).error().code == Code::kBadRequest);
    ListQuery bad_field{.field_selector = "spec.nonsense=1"};
    CHECK((co_await f.registry->list(config_maps(), bad_field)).error().code == Code::kBadRequest);
    ListQuery forbidden{.resource_version_match = "Exact"};
    CHECK((co_await f.registry->list(config_maps(), forbidden)).error().code == Code::kInvalid);
  });
}

TEST_CASE("a slow watcher is cut, and its ring entries go in time") {
  Loop loop("test");
  loop.start();
  std::atomic<store::Revision> newest = 0;
  WatchCache cache(
      config_maps(), newest, &api::Object::from_stored,
      {.min_events = 2, .max_events = 8, .max_bytes = 1 << 20, .watcher_max_events = 4, .watcher_max_bytes = 1 << 20});
  cache.primed(0, 0);
  const auto put = [&](store::Revision revision) {
    store::Event event;
    event.key = "/configmaps/default/x";
    event.revision = revision;
    event.value = std::make_shared<const std::string>(
        R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"default"}})");
    PostBatch wakes;
    cache.apply(event, "default/x", wakes);
    wakes.post();
    newest = revision;
  };
  loop.run_and_wait([&]() -> Task<void> {
    auto stream = cache.watch({.filter = {}, .after = 0}, co_await boost::asio::this_coro::executor);
    CHECK(stream.has_value());
    for (int i = 1; i <= 4; ++i) put(i);
    auto events = co_await (*stream)->next(kSoon);
    CHECK(events.value().size() == 4);
    for (int i = 5; i <= 12; ++i) put(i);
    events = co_await (*stream)->next(kSoon);
    CHECK(!events);
    CHECK(events.error().code == Code::kServiceUnavailable);
    auto old = cache.watch({.filter = {}, .after = 1}, co_await boost::asio::this_coro::executor);
    CHECK(old.error().code == Code::kExpired);
    auto recent = cache.watch({.filter = {}, .after = 6}, co_await boost::asio::this_coro::executor);
    events = co_await (*recent)->next(kSoon);
    CHECK(events.value().size() == 6);
    cache.trim(12);
    CHECK(!cache.watch({.filter = {}, .after = 8}, co_await boost::asio::this_coro::executor).has_value());
    // The future: only what comes after it.
    auto later = cache.watch({.filter = {}, .after = 13}, co_await boost::asio::this_coro::executor);
    put(13);
    put(14);
    events = co_await (*later)->next(kSoon);
    CHECK(events.value().size() == 1);
    cache.close_watchers();
    CHECK(!co_await (*later)->next(kSoon));
  });
  loop.stop();
}
