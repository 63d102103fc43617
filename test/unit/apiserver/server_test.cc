#include <zlib.h>
#include "../../../src/apiserver/protobuf.h"

#include "brume/api/decode.h"
#include "core_fixture.h"
#include "support/fake_clock.h"

using namespace brume;
using namespace brume::apiserver;
using namespace brume::apiserver::core_test;

namespace {

struct Served : Fixture {
  explicit Served(Clock& clock = system_clock()) : Fixture({}, clock) {
    ApiServerOptions options;
    options.bookmark_interval = std::chrono::seconds(1);
    auto made = ApiServer::create(*registry, gate, gate, nullptr, options);
    REQUIRE(made);
    server = std::move(*made);
    server->set_ready(true);
  }
  FakeExchange call(std::string method, std::string target, std::string body = "", http::Headers headers = {}) {
    FakeExchange exchange(std::move(method), std::move(target), std::move(body), std::move(headers));
    run([&]() -> Task<void> { co_await server->handler()(exchange); });
    return exchange;
  }
  AllowAll gate;
  std::unique_ptr<ApiServer> server;
};

const std::string kMaps = "/api/v1/namespaces/default/configmaps";
const http::Headers kTable{{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}};

std::string gunzip(const std::string& bytes) {
  std::string out(1 << 20, '\0');
  z_stream stream{};
  REQUIRE(inflateInit2(&stream, 15 + 16) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  CHECK(inflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  inflateEnd(&stream);
  return out;
}

}  // namespace

TEST_CASE("a resource's life over HTTP") {
  Served s;
  auto made = s.call("POST", kMaps, config_map("a").dump());
  CHECK(made.response.status == 201);
  CHECK(made.response.headers.get("Content-Type") == "application/json");
  CHECK(!made.response.headers.get("Audit-Id").empty());
  auto got = s.call("GET", kMaps + "/a");
  CHECK(got.response.status == 200);
  CHECK(got.response.body == made.response.body);
  auto list = s.call("GET", kMaps).answer();
  CHECK(list["kind"] == "ConfigMapList");
  CHECK(list["items"].size() == 1);
  CHECK(!list["metadata"]["resourceVersion"].empty());
  auto again = s.call("POST", kMaps, config_map("a").dump());
  CHECK(again.response.status == 409);
  CHECK(again.answer() == json(R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
    "message":"configmaps \"a\" already exists","reason":"AlreadyExists","details":{"name":"a","kind":"configmaps"},"code":409})"));
  auto yaml =
      s.call("PUT", kMaps + "/a", "metadata:\n  name: a\ndata:\n  k: \"2\"\n", {{"Content-Type", "application/yaml"}});
  CHECK(yaml.response.status == 200);
  auto patched =
      s.call("PATCH", kMaps + "/a", R"({"data":{"x":"y"}})", {{"Content-Type", "application/merge-patch+json"}});
  CHECK(patched.answer()["data"] == json(R"({"k":"2","x":"y"})"));
  auto deleted = s.call("DELETE", kMaps + "/a");
  CHECK(deleted.answer()["status"] == "Success");
  CHECK(deleted.answer()["details"]["name"] == "a");
  auto missing = s.call("GET", kMaps + "/a");
  CHECK(missing.response.status == 404);
  CHECK(missing.answer()["details"] == json(R"({"name":"a","kind":"configmaps"})"));
}

TEST_CASE("YAML for who asks for it") {
  Served s;
  const http::Headers yaml{{"Accept", "application/yaml"}};
  const auto read = [](const http::Response& response) {
    CHECK(response.headers.get("Content-Type") == "application/yaml");
    const auto decoded = api::decode(response.body, api::MediaType::kYaml);
    REQUIRE(decoded);
    return decoded->value;
  };
  const auto made = s.call("POST", kMaps, config_map("a").dump(), yaml);
  CHECK(made.response.status == 201);
  CHECK(made.response.body.starts_with("apiVersion: v1\n"));
  const Json object = read(made.response);
  CHECK(object == s.call("GET", kMaps + "/a").answer());
  CHECK(object == read(s.call("GET", kMaps + "/a", "", yaml).response));
  CHECK(s.call("GET", kMaps).answer() == read(s.call("GET", kMaps, "", yaml).response));
  CHECK(read(s.call("GET", kMaps + "/none", "", yaml).response)["reason"] == "NotFound");
  CHECK(s.call("GET", kMaps + "?watch=1", "", yaml).response.status == 406);
  CHECK(read(s.call("DELETE", kMaps + "/a", "", yaml).response)["status"] == "Success");
}

TEST_CASE("refusals") {
  Served s;
  CHECK(s.call("GET", "/api/v1/pods", "", {{"Authorization", "Bearer bad"}}).response.status == 401);
  CHECK(s.call("GET", "/api/v1/nonsense").response.status == 404);
  CHECK(s.call("GET", "/nonsense").response.status == 404);
  CHECK(s.call("POST", "/api/v1/pods", "{}").response.status == 405);
  CHECK(s.call("GET", "/api/v1/namespaces/default/nodes").response.status == 404);
  CHECK(s.call("POST", kMaps, "{", {{"Content-Type", "application/json"}}).response.status == 400);
  CHECK(s.call("POST", kMaps, "x", {{"Content-Type", "application/xml"}}).response.status == 415);
  CHECK(s.call("POST", kMaps, "x", {{"Content-Type", "application/vnd.kubernetes.protobuf"}}).response.status == 400);
  CHECK(s.call("GET", kMaps, "", {{"Accept", "application/vnd.kubernetes.protobuf"}}).response.status == 406);
  CHECK(
      s.call("GET", kMaps, "", {{"Accept", "application/vnd.kubernetes.protobuf,application/json"}}).response.status ==
      200);
  CHECK(s.call("PATCH", kMaps + "/a", "{}", {{"Content-Type", "application/json"}}).response.status == 415);
  CHECK(s.call("POST", kMaps, std::string(4U << 20, ' ')).response.status == 413);
  CHECK(s.call("POST", kMaps + "?dryRun=Some", "{}").response.status == 422);
  CHECK(s.call("PUT", "/api/v1/namespaces/default/pods/x/exec", "").response.status == 405);
  CHECK(s.call("POST", "/api/v1/namespaces/default/pods", pod("x").dump()).response.status == 201);
  CHECK(s.call("GET", "/api/v1/namespaces/default/pods/x/status").response.status == 200);
  CHECK(s.call("GET", "/api/v1/namespaces/default/pods/x/status/more").response.status == 404);
  CHECK(s.call("GET", "/api/v1/namespaces/default/pods/x/proxy/").response.status == 400);  // it has no address
  CHECK(s.call("GET", "/api/v1/namespaces/default/services/x/proxy/").response.status == 404);
  s.gate.denied_verb = "list";
  auto refused = s.call("GET", "/api/v1/namespaces/default/pods");
  CHECK(refused.response.status == 403);
  CHECK(refused.answer()["message"] ==
        "pods is forbidden: User \"tester\" cannot list resource \"pods\" in API group \"\" in the namespace "
        "\"default\"");
  s.gate.denied_verb = "create";
  auto exec = s.call("GET", "/api/v1/namespaces/default/pods/p/exec?command=sh");
  CHECK(exec.response.status == 403);  // a GET that upgrades needs create
}

TEST_CASE("an eviction under several budgets is refused as Kubernetes does, without a reason") {
  Served s;
  const std::string pods_path = "/api/v1/namespaces/default/pods";
  REQUIRE(s.call("POST", pods_path, pod("p", "", R"({"app":"x"})").dump()).response.status == 201);
  const Json running{{"status", {{"phase", "Running"}}}};
  REQUIRE(s.call("PATCH", pods_path + "/p/status", running.dump(), {{"Content-Type", "application/merge-patch+json"}})
              .response.status == 200);
  for (const char* name : {"a", "b"}) {
    Json budget = json(R"({"metadata":{},"spec":{"minAvailable":1,"selector":{"matchLabels":{"app":"x"}}}})");
    budget["metadata"]["name"] = name;
    REQUIRE(s.call("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", budget.dump()).response.status ==
            201);
  }
  const auto refused = s.call("POST", pods_path + "/p/eviction", R"({"metadata":{"name":"p"}})");
  CHECK(refused.response.status == 500);
  CHECK(refused.answer() ==
        json(R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"This pod has more than )"
             R"(one PodDisruptionBudget, which the eviction subresource does not support.","code":500})"));
}

TEST_CASE("a protobuf body is read by the schema's numbers") {
  Served s;
  // A ConfigMap: metadata (1) with name (1), data (2) with one entry.
  const std::string metadata = "\x0a\x03\x0a\x01z";
  const std::string entry = "\x12\x06\x0a\x01k\x12\x01v";
  const std::string type = std::string("\x0a\x0f\x0a\x02v1\x12\x09") + "ConfigMap";
  const std::string raw = metadata + entry;
  const std::string body = std::string("k8s\0", 4) + type + "\x12" + static_cast<char>(raw.size()) + raw;
  auto made = s.call("POST", kMaps, body, {{"Content-Type", "application/vnd.kubernetes.protobuf"}});
  CHECK(made.response.status == 201);
  CHECK(made.answer()["data"]["k"] == "v");
  CHECK(made.answer()["metadata"]["name"] == "z");
  auto cut =
      s.call("POST", kMaps, body.substr(0, body.size() - 3), {{"Content-Type", "application/vnd.kubernetes.protobuf"}});
  CHECK(cut.response.status == 400);
}

TEST_CASE("an empty class of a claim is a choice, and one of a volume is none") {
  const auto body = [](const std::string& kind, const std::string& spec) {
    const std::string raw = "\x0a\x03\x0a\x01z\x12" + std::string(1, static_cast<char>(spec.size())) + spec;
    const std::string type = "\x0a\x02v1\x12" + std::string(1, static_cast<char>(kind.size())) + kind;
    return std::string("k8s\0", 4) + "\x0a" + static_cast<char>(type.size()) + type + "\x12" +
           static_cast<char>(raw.size()) + raw;
  };
  const auto claim = decode_protobuf(body("PersistentVolumeClaim", std::string("\x2a\0", 2)));
  REQUIRE(claim);
  CHECK(at(*claim, "spec", "storageClassName") == "");
  const auto none = decode_protobuf(body("PersistentVolumeClaim", std::string("\x1a\0", 2)));
  REQUIRE(none);
  CHECK_FALSE(at(*none, "spec").contains("storageClassName"));
  CHECK_FALSE(at(*none, "spec").contains("volumeName"));
  const auto volume = decode_protobuf(body("PersistentVolume", std::string("\x32\0", 2)));
  REQUIRE(volume);
  CHECK_FALSE(at(*volume, "spec").contains("storageClassName"));
}

TEST_CASE("warnings and strict fields") {
  Served s;
  Json body = config_map("a");
  body["foo"] = 1;
  auto warned = s.call("POST", kMaps, body.dump());
  CHECK(warned.response.status == 201);
  CHECK(warned.response.headers.get("Warning") == "299 - \"unknown field \\\"foo\\\"\"");
  auto strict = s.call("POST", kMaps + "?fieldValidation=Strict", body.dump());
  CHECK(strict.response.status == 400);
  CHECK(s.call("POST", kMaps + "?fieldValidation=Ignore&dryRun=All", R"({"metadata":{"name":"b"},"foo":1})")
            .response.headers.get("Warning")
            .empty());
}

TEST_CASE("warnings of one answer: no more than clients take, and cut between characters") {
  Served s;
  const auto warnings = [&](const Json& body) {
    const auto answer = s.call("POST", kMaps + "?dryRun=All", body.dump());
    CHECK(answer.response.status == 201);
    const auto all = answer.response.headers.get_all("Warning");
    return std::vector<std::string>(all.begin(), all.end());
  };
  const auto strange = [](int fields, const std::string& name) {
    Json body = config_map("a");
    for (int i = 0; i < fields; ++i) body[std::to_string(1000 + i) + name] = 1;
    return body;
  };
  // Whole, while they fit together.
  const std::string long_name(300, 'x');
  const auto few = warnings(strange(10, long_name));
  REQUIRE(few.size() == 10);
  CHECK(few[0] == "299 - \"unknown field \\\"1000" + long_name + "\\\"\"");
  // Else 256 bytes of each, and as many as 4096 bytes hold.
  const auto many = warnings(strange(50, long_name));
  REQUIRE(many.size() == 16);
  CHECK(many[0] == "299 - \"unknown field \\\"1000" + std::string(237, 'x') + "\"");
  std::string wide(200, 'x');
  for (int i = 0; i < 50; ++i) wide += "\xC3\xA9";
  const auto foreign = warnings(strange(50, wide));
  REQUIRE(foreign.size() == 16);
  CHECK(foreign[0].ends_with("\xC3\xA9\""));
  CHECK(foreign[0].size() == std::string_view("299 - \"\\\"").size() + 255);
}

TEST_CASE("tables and metadata only") {
  Served s;
  (void)s.call("POST", kMaps, config_map("a").dump());
  (void)s.call("POST", kMaps, config_map("b").dump());
  auto table = s.call("GET", kMaps, "", kTable).answer();
  CHECK(table["kind"] == "Table");
  CHECK(table["apiVersion"] == "meta.k8s.io/v1");
  CHECK(table["columnDefinitions"][0]["name"] == "Name");
  CHECK(table["rows"][0]["cells"][0] == "a");
  CHECK(table["rows"][0]["object"]["kind"] == "PartialObjectMetadata");
  CHECK(table["rows"][0]["object"]["metadata"]["name"] == "a");
  CHECK(table["rows"][1]["cells"][0] == "b");
  auto one = s.call("GET", kMaps + "/a?includeObject=Object", "", kTable).answer();
  CHECK(one["rows"][0]["object"]["data"]["k"] == "1");
  auto partial =
      s.call("GET", kMaps, "",
             {{"Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"}})
          .answer();
  CHECK(partial["kind"] == "PartialObjectMetadataList");
  REQUIRE(partial["items"].size() == 2);
  CHECK(partial["items"][0]["kind"] == "PartialObjectMetadata");
  CHECK(!partial["items"][0].contains("data"));
  CHECK(partial["items"][1]["metadata"]["name"] == "b");
}

TEST_CASE("what is not stored has no table") {
  Served s;
  const std::string reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
  const std::string table = "application/json;as=Table;v=v1;g=meta.k8s.io";
  CHECK(s.call("POST", reviews, "{}", {{"Accept", table}}).response.status == 406);
  CHECK(s.call("POST", reviews, "{}", {{"Accept", table + ",application/json"}}).response.status != 406);
}

TEST_CASE("a page that comes too late tells how to go on") {
  test::FakeClock clock;
  Served s(clock);
  for (const char* name : {"a", "b", "c"}) (void)s.call("POST", kMaps, config_map(name).dump());
  const auto page = [&](const std::string& from) { return s.call("GET", kMaps + "?limit=1&continue=" + from); };
  const auto token = [](FakeExchange& exchange) {
    return std::string(str(at(exchange.answer(), "metadata"), "continue"));
  };
  auto first = page("");
  s.run([&]() -> Task<void> {
    TaskGroup tasks(co_await boost::asio::this_coro::executor);
    tasks.spawn("maintain", s.registry->maintain());
    Json later = config_map("d");
    REQUIRE(co_await s.registry->create(config_maps(), "default", later, {}));
    for (int minute = 0; minute < 6; ++minute) {
      REQUIRE(co_await test::eventually([&] { return clock.sleepers() == 1; }));
      clock.advance(std::chrono::minutes(1));
    }
    REQUIRE(co_await test::eventually([&] { return clock.sleepers() == 1; }));
    co_await tasks.stop();
  });
  auto expired = page(token(first));
  CHECK(expired.response.status == 410);
  CHECK(expired.answer()["reason"] == "Expired");
  auto resumed = page(token(expired));
  CHECK(resumed.answer()["items"][0]["metadata"]["name"] == "b");
  CHECK(resumed.answer()["metadata"]["remainingItemCount"] == 2);
  CHECK(page(token(resumed)).response.status == 200);
}

TEST_CASE("lists: whole, empty, pretty and packed") {
  Served s;
  CHECK(s.call("GET", kMaps).answer()["items"] == Json::array());
  const std::string padding(40'000, 'x');
  for (const char* name : {"a", "b", "c", "d"}) {
    Json map = config_map(name);
    map["data"]["padding"] = padding;
    (void)s.call("POST", kMaps, map.dump());
  }
  const auto plain = s.call("GET", kMaps);
  REQUIRE(plain.answer()["items"].size() == 4);
  CHECK(plain.answer()["items"][3]["data"]["padding"] == padding);
  const auto pretty = s.call("GET", kMaps + "?pretty=true");
  CHECK(pretty.response.body.starts_with("{\n  \"apiVersion\""));
  CHECK(pretty.answer() == plain.answer());
  FakeExchange far("GET", kMaps, "", {{"Accept-Encoding", "gzip"}});
  far.come_from("192.0.2.1");
  s.run([&]() -> Task<void> { co_await s.server->handler()(far); });
  REQUIRE(far.response.headers.get("Content-Encoding") == "gzip");
  CHECK(far.response.body.size() < 10'000);
  CHECK((gunzip(far.response.body) == plain.response.body));
}

TEST_CASE("watch over HTTP: events, bookmarks, expiry") {
  Served s;
  (void)s.call("POST", kMaps, config_map("a").dump());
  auto watched = s.call("GET", kMaps + "?watch=true&allowWatchBookmarks=true&timeoutSeconds=2");
  CHECK(watched.response.status == 200);
  CHECK(watched.finished);
  const auto lines = watched.lines();
  REQUIRE(lines.size() >= 2);
  CHECK(lines[0]["type"] == "ADDED");
  CHECK(lines[0]["object"]["metadata"]["name"] == "a");
  CHECK(lines[1]["type"] == "BOOKMARK");
  CHECK(lines[1]["object"]["kind"] == "ConfigMap");
  auto initial =
      s.call("GET", kMaps +
                        "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
                        "&timeoutSeconds=1")
          .lines();
  REQUIRE(initial.size() >= 2);
  CHECK(initial[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true");
  auto table = s.call("GET", kMaps + "?watch=1&timeoutSeconds=1", "", kTable).lines();
  REQUIRE(!table.empty());
  CHECK(table[0]["object"]["kind"] == "Table");
  CHECK(table[0]["object"]["rows"][0]["cells"][0] == "a");
  (void)s.call("POST", kMaps, config_map("b").dump());
  s.run([&]() -> Task<void> {
    REQUIRE(co_await s.store->compact(s.store->revision()));
    s.server.reset();
    s.registry.reset();
    auto opened = co_await Registry::open(*s.store, {}, system_clock());
    REQUIRE(opened);
    s.registry = std::move(*opened);
    auto made = ApiServer::create(*s.registry, s.gate, s.gate, nullptr, {});
    REQUIRE(made);
    s.server = std::move(*made);
  });
  auto expired = s.call("GET", kMaps + "?watch=1&resourceVersion=1&timeoutSeconds=5");
  REQUIRE(expired.lines().size() == 1);
  CHECK(expired.lines()[0]["type"] == "ERROR");
  CHECK(expired.lines()[0]["object"]["code"] == 410);
  CHECK(expired.lines()[0]["object"]["reason"] == "Expired");
}

TEST_CASE("delete options come in the body or as parameters") {
  Served s;
  const std::string path = "/api/v1/namespaces/default/pods";
  (void)s.call("POST", path, pod("p", "n").dump());
  auto marked = s.call("DELETE", path + "/p?gracePeriodSeconds=7");
  CHECK(marked.response.status == 200);
  CHECK(marked.answer()["metadata"]["deletionGracePeriodSeconds"] == 7);
  auto gone = s.call("DELETE", path + "/p", R"({"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0})");
  CHECK(gone.answer()["kind"] == "Pod");
  CHECK(s.call("GET", path + "/p").response.status == 404);
  auto logs = s.call("GET", path + "/p/log");
  CHECK(logs.response.status == 404);
  Json two = pod("two", "n");
  two["spec"]["containers"].push_back(json(R"({"name":"d","image":"i"})"));
  (void)s.call("POST", path, two.dump());
  auto unclear = s.call("GET", path + "/two/log");
  CHECK(unclear.response.status == 400);
  CHECK(unclear.answer()["message"] == "a container name must be specified for pod two, choose one of: [c d]");
}

TEST_CASE("discovery, legacy and aggregated") {
  Served s;
  auto core = s.call("GET", "/api/v1").answer();
  CHECK(core["kind"] == "APIResourceList");
  bool pods_found = false, status_found = false;
  for (const auto& entry : core["resources"]) {
    if (entry["name"] == "pods") {
      pods_found = true;
      CHECK(entry["shortNames"] == json(R"(["po"])"));
      CHECK(entry["categories"] == json(R"(["all"])"));
    }
    status_found = status_found || entry["name"] == "pods/status";
  }
  CHECK(pods_found);
  CHECK(status_found);
  CHECK(s.call("GET", "/api").answer()["versions"] == json(R"(["v1"])"));
  auto groups = s.call("GET", "/apis").answer();
  CHECK(groups["kind"] == "APIGroupList");
  CHECK(s.call("GET", "/apis/apps").answer()["preferredVersion"]["groupVersion"] == "apps/v1");
  CHECK(s.call("GET", "/apis/apps/v1").answer()["groupVersion"] == "apps/v1");
  const http::Headers aggregated{
      {"Accept",
       "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
       "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"}};
  auto all = s.call("GET", "/apis", "", aggregated);
  CHECK(all.answer()["kind"] == "APIGroupDiscoveryList");
  CHECK(all.answer()["apiVersion"] == "apidiscovery.k8s.io/v2");
  const std::string etag(all.response.headers.get("ETag"));
  CHECK(!etag.empty());
  http::Headers conditional = aggregated;
  conditional.add("If-None-Match", etag);
  CHECK(s.call("GET", "/apis", "", conditional).response.status == 304);
}

TEST_CASE("health, version, metrics, OpenAPI") {
  Served s;
  CHECK(s.call("GET", "/readyz").response.body == "ok");
  CHECK(s.call("GET", "/livez?verbose").response.body.find("[+]ping ok\n") != std::string::npos);
  CHECK(s.call("GET", "/readyz/store").response.status == 200);
  CHECK(s.call("GET", "/readyz/nonsense").response.status == 404);
  CHECK(s.call("GET", "/livez/store").response.status == 404);
  CHECK_FALSE(s.server->set_node_tls({.ca_pem = "rubbish"}));
  CHECK(s.server->set_node_tls({}));
  s.server->set_ready(false);
  CHECK(s.call("GET", "/readyz").response.status == 500);
  CHECK(s.call("GET", "/livez").response.status == 200);
  auto version = s.call("GET", "/version").answer();
  CHECK(version["major"] == "1");
  CHECK(version["minor"] == "36");
  CHECK(version["gitVersion"] == "v1.36.0+brume");
  CHECK(s.call("GET", "/metrics").response.body.find("apiserver_request_total") != std::string::npos);
  auto index = s.call("GET", "/openapi/v3").answer();
  const std::string url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].get<std::string>();
  auto document = s.call("GET", url);
  CHECK(document.response.status == 200);
  CHECK(document.answer()["openapi"] == "3.0.0");
  CHECK(s.call("GET", "/openapi/v3/apis/none/v1").response.status == 404);
  auto v2 =
      s.call("GET", "/openapi/v2", "", {{"Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}});
  CHECK(v2.response.status == 200);
  CHECK(v2.response.headers.get("Content-Type").starts_with("application/com.github"));
}
