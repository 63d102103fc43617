#include "../../../src/apiserver/proxy_links.h"
#include "../../../src/apiserver/proxy_target.h"
#include "core_fixture.h"

using namespace brume;
using namespace brume::apiserver;
using namespace brume::apiserver::core_test;

namespace {

constexpr ProxyLinks kLinks{
    .prefix = "/api/v1/namespaces/n/pods/p/proxy", .backend_host = "10.42.0.7:8080", .request_host = "localhost:8001"};

std::string origin(const Result<ProxyTarget>& target) { return target ? target->origin : target.error().message; }

std::string pod_origin(std::string_view asked, const Json& of) {
  const auto name = ProxyName::parse(asked);
  REQUIRE(name);
  return origin(pod_target(*name, of));
}

/// Objects by kind and name, all in one namespace.
struct Objects : ObjectSource {
  [[nodiscard]] api::ObjectPtr find(const api::Resource& resource, std::string_view,
                                    std::string_view name) const override {
    const auto found = texts.find(resource.plural.data() + ("/" + std::string(name)));
    if (found == texts.end()) return nullptr;
    auto object = api::Object::from_json(found->second);
    REQUIRE(object);
    return *object;
  }
  [[nodiscard]] std::vector<api::ObjectPtr> all(const api::Resource&, std::string_view) const override { return {}; }
  [[nodiscard]] std::int64_t version(const api::Resource&) const override { return 1; }
  std::map<std::string, Json> texts;
};

}  // namespace

TEST_CASE("names before /proxy hold scheme and port") {
  const auto whole = ProxyName::parse("https:web:8443");
  REQUIRE(whole);
  CHECK((whole->scheme == "https" && whole->name == "web" && whole->port == "8443"));
  const auto named = ProxyName::parse("web:http");
  REQUIRE(named);
  CHECK((named->scheme.empty() && named->name == "web" && named->port == "http"));
  for (const char* bad : {"", ":80", "ftp:web:80", "http:web:80:1"}) CHECK(!ProxyName::parse(bad));
}

TEST_CASE("a proxied pod's address and port") {
  Json of = pod("p");
  CHECK(pod_origin("p", of) == "address not allowed");  // it has none yet
  of["status"]["podIP"] = "10.42.0.7";
  CHECK(pod_origin("p", of) == "http://10.42.0.7");
  of["spec"]["containers"][0]["ports"] = json(R"([{"containerPort":8080},{"containerPort":8081}])");
  CHECK(pod_origin("p", of) == "http://10.42.0.7:8080");
  CHECK(pod_origin("https:p:443", of) == "https://10.42.0.7:443");
  CHECK(pod_origin("p:web", of) == "invalid port \"web\"");
  of["status"]["podIP"] = "fd00::7";
  CHECK(pod_origin("p:1", of) == "http://[fd00::7]:1");
  for (const char* own :
       {"127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1", "fe80::1", "::ffff:127.0.0.1"}) {
    of["status"]["podIP"] = own;
    CHECK(pod_origin("p", of) == "address not allowed");
  }
}

TEST_CASE("a proxied Service's endpoints are pods") {
  Objects objects;
  const auto target = [&objects](std::string_view asked) {
    return origin(service_target(*ProxyName::parse(asked), "n", objects));
  };
  CHECK(target("web") == "endpoints \"web\" not found");
  objects.texts["services/web"] =
      json(R"({"metadata":{"name":"web","namespace":"n"},"spec":{"ports":[{"name":"http","port":80}]}})");
  objects.texts["endpoints/web"] = json(R"({"metadata":{"name":"web","namespace":"n"},"subsets":[{
    "addresses":[{"ip":"10.42.0.7","targetRef":{"kind":"Pod","namespace":"n","name":"p"}},{"ip":"10.42.0.8"}],
    "ports":[{"name":"http","port":8080}]}]})");
  CHECK(target("web:80") == "no endpoints available for service \"web\"");  // no such pod
  Json of = pod("p");
  of["metadata"]["namespace"] = "n";
  of["status"]["podIPs"] = json(R"([{"ip":"10.42.0.7"}])");
  objects.texts["pods/p"] = of;
  CHECK(target("web:80") == "http://10.42.0.7:8080");
  CHECK(target("https:web:http") == "https://10.42.0.7:8080");
  CHECK(target("web:81") == "no service port 81 found for service \"web\"");
  CHECK(target("web") == "no endpoints available for service \"web\"");  // the port has a name
}

TEST_CASE("a proxied node is its agent unless a port is asked for") {
  const Json node = json(R"({"status":{"addresses":[{"type":"Hostname","address":"m"},
    {"type":"InternalIP","address":"10.0.0.5"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":10250}}}})");
  const auto agent = node_target(*ProxyName::parse("m"), node);
  REQUIRE(agent);
  CHECK((agent->origin == "https://10.0.0.5:10250" && agent->is_agent));
  CHECK(node_target(*ProxyName::parse("m:10250"), node)->is_agent);
  const auto other = node_target(*ProxyName::parse("m:9100"), node);
  REQUIRE(other);
  CHECK((other->origin == "http://10.0.0.5:9100" && !other->is_agent));
}

TEST_CASE("links lead through the proxy") {
  const std::string prefix(kLinks.prefix);
  CHECK(kLinks.rewrite("/a?b#c") == prefix + "/a?b#c");
  CHECK(kLinks.rewrite("http://10.42.0.7:8080/a") == prefix + "/a");
  CHECK(kLinks.rewrite("https://localhost:8001/a") == prefix + "/a");
  CHECK(kLinks.rewrite(prefix + "/a") == prefix + "/a");
  CHECK(kLinks.rewrite(prefix + "x") == prefix + prefix + "x");
  for (const char* kept : {"", "a/b", "?x=//y/", "#x", "//cdn/a", "http://example.org/a", "mailto:a@b", "http://"}) {
    CHECK(kLinks.rewrite(kept) == kept);
  }
}

TEST_CASE("only links in tags change in a page") {
  const std::string prefix(kLinks.prefix);
  const auto rewrite = [](std::string_view page) { return kLinks.rewrite_html(page); };
  CHECK(rewrite(R"(<a href="/x">/x</a>)") == "<a href=\"" + prefix + "/x\">/x</a>");
  CHECK(rewrite("<IMG alt=/x SRC = '/x'/>") == "<IMG alt=/x SRC = '" + prefix + "/x'/>");
  CHECK(rewrite("<form action=/x>") == "<form action=" + prefix + "/x>");
  CHECK(rewrite("<script src='/x'>'<a href=\"/y\">'</script><a href='/z'>") ==
        "<script src='" + prefix + "/x'>'<a href=\"/y\">'</script><a href='" + prefix + "/z'>");
  for (const char* kept :
       {"", "<", "a < b", "<!-- <a href=\"/x\"> -->", "<!-- <a href='/x'>", "<a href", "<a href=", "<a href='/x",
        "<b href='/x'>", "<style>a { b: '<a href=\"/x\">' }", "</a href='/x'>", "<p = />"}) {
    CHECK(rewrite(kept) == kept);
  }
}
