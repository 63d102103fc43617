#include "brume/network/service_proxy.h"

#include "brume/base/json.h"
#include "brume/client/informer.h"
#include "node_fixture.h"
#include "service_model.h"
#include "support/fake_client.h"
#include "support/fake_clock.h"

using namespace brume;
using namespace brume::test;

namespace {

Json service_json(const std::string& name, const std::string& cluster_ip) {
  return {{"metadata", {{"namespace", "default"}, {"name", name}}},
          {"spec",
           {{"type", "ClusterIP"},
            {"clusterIP", cluster_ip},
            {"clusterIPs", {cluster_ip}},
            {"ports", {{{"name", "http"}, {"protocol", "TCP"}, {"port", 80}, {"targetPort", 80}}}}}}};
}

Json slice_json(const std::string& name, const std::string& service, const std::vector<std::string>& addresses) {
  Json endpoints = Json::array();
  for (const auto& address : addresses) {
    endpoints.push_back({{"addresses", {address}}, {"nodeName", "node"}, {"conditions", {{"ready", true}}}});
  }
  return {
      {"metadata", {{"namespace", "default"}, {"name", name}, {"labels", {{"kubernetes.io/service-name", service}}}}},
      {"addressType", "IPv4"},
      {"endpoints", endpoints},
      {"ports", {{{"name", "http"}, {"protocol", "TCP"}, {"port", 80}}}}};
}

api::ObjectPtr object(Json json, const char* api_version, const char* kind) {
  json["apiVersion"] = api_version;
  json["kind"] = kind;
  return ok(api::Object::from_json(json));
}

network::ServicePorts model(const Json& service, const std::vector<Json>& slices,
                            network::ServiceProxyOptions options = {}) {
  options.node_name = "node";
  std::vector<network::SliceView> views;
  for (const auto& slice : slices)
    views.push_back(network::view_slice(*object(slice, "discovery.k8s.io/v1", "EndpointSlice")));
  std::vector<const network::SliceView*> pointers;
  for (const auto& view : views) pointers.push_back(&view);
  return network::service_ports(network::view_service(*object(service, "v1", "Service")), pointers, options);
}

}  // namespace

TEST_CASE("the model of a service") {
  auto slice = slice_json("web-1", "web", {"10.42.0.5", "10.42.0.6"});
  SECTION("ports and ready endpoints") {
    slice["endpoints"][1]["conditions"]["ready"] = false;
    auto ports = model(service_json("web", "10.43.0.80"), {slice});
    REQUIRE(ports.size() == 1);
    CHECK(ports.begin()->first == "default/web/http/tcp");
    CHECK(ports.begin()->second.endpoints == std::vector<network::ServiceEndpoint>{{ip("10.42.0.5"), 80, true}});
  }
  SECTION("several slices, overlapping") {
    auto ports =
        model(service_json("web", "10.43.0.80"), {slice, slice_json("web-2", "web", {"10.42.0.6", "10.42.1.7"})});
    CHECK(ports.begin()->second.endpoints.size() == 3);
  }
  SECTION("none ready: those that end and still serve") {
    slice["endpoints"][0]["conditions"] = {{"ready", false}, {"serving", true}, {"terminating", true}};
    slice["endpoints"][1]["conditions"] = {{"ready", false}};
    auto ports = model(service_json("web", "10.43.0.80"), {slice});
    CHECK(ports.begin()->second.endpoints == std::vector<network::ServiceEndpoint>{{ip("10.42.0.5"), 80, true}});
  }
  SECTION("external addresses only where allowed; balancers' without source ranges") {
    auto service = service_json("web", "10.43.0.80");
    service["spec"]["externalIPs"] = {"198.51.100.7"};
    CHECK(model(service, {slice}).begin()->second.external_ips.empty());
    network::ServiceProxyOptions allowed;
    allowed.allow_external_ips = true;
    CHECK(model(service, {slice}, allowed).begin()->second.external_ips.size() == 1);
    service["spec"]["type"] = "LoadBalancer";
    service["status"]["loadBalancer"]["ingress"] = {{{"ip", "198.51.100.8"}}};
    CHECK(model(service, {slice}).begin()->second.external_ips == std::vector{ip("198.51.100.8")});
    service["spec"]["loadBalancerSourceRanges"] = {"10.0.0.0/8"};
    CHECK(model(service, {slice}).begin()->second.external_ips.empty());
  }
  SECTION("headless, ExternalName, and another proxy's services have no rules") {
    auto headless = service_json("web", "None");
    CHECK(model(headless, {slice}).empty());
    auto alias = service_json("web", "");
    alias["spec"] = {{"type", "ExternalName"}, {"externalName", "example.com"}};
    CHECK(model(alias, {slice}).empty());
    auto foreign = service_json("web", "10.43.0.80");
    foreign["metadata"]["labels"]["service.kubernetes.io/service-proxy-name"] = "mine";
    CHECK(model(foreign, {slice}).empty());
  }
  SECTION("affinity and policies") {
    auto service = service_json("web", "10.43.0.80");
    service["spec"]["sessionAffinity"] = "ClientIP";
    service["spec"]["internalTrafficPolicy"] = "Local";
    auto ports = model(service, {slice});
    CHECK(ports.begin()->second.affinity == std::chrono::seconds(10'800));
    CHECK(ports.begin()->second.internal_local);
  }
  SECTION("nonsense is left out, not served wrongly") {
    auto service = service_json("web", "10.43.0.80");
    service["spec"]["ports"] = {{{"port", 99999}}, {{"port", "x"}}, {{"protocol", "IGMP"}, {"port", 1}}, 7};
    CHECK(model(service, {slice}).empty());
  }
}

TEST_CASE("the proxy follows the API") {
  in_new_netns([] {
    Node node;
    Pod a(node, "a");
    Pod b(node, "b");
    Pod c(node, "c");
    FakeClient api;
    api.seed("services", service_json("web", "10.43.0.80"));
    api.seed("endpointslices.discovery.k8s.io", slice_json("web-1", "web", {a.address}));
    Loop loop("test");
    loop.start();
    loop.run_and_wait([&]() -> Task<void> {
      client::InformerFactory informers(api, loop.executor(), system_clock());
      auto proxy = ok(network::ServiceProxy::create(
          {"node", node.options.cluster_cidr, node.options.service_cidrs, false}, informers));
      proxy->start();
      informers.start();
      auto answers = [&](std::string address, std::string expected) {
        return eventually(
            [&, address, expected] { return who(&c.netns, Protocol::kTcp, address, 80, 50) == expected; });
      };
      bool first = co_await answers("10.43.0.80", "a");
      CHECK(first);
      // The kernel answers a moment before the loop has heard that it has the rules.
      const bool synced = co_await eventually([&] { return proxy->synced(); });
      CHECK(synced);
      api.seed("endpointslices.discovery.k8s.io", slice_json("web-1", "web", {b.address}));
      bool moved = co_await answers("10.43.0.80", "b");
      CHECK(moved);
      api.seed("services", service_json("late", "10.43.0.81"));
      bool empty = co_await answers("10.43.0.81", "refused");
      CHECK(empty);
      api.seed("endpointslices.discovery.k8s.io", slice_json("late-1", "late", {a.address}));
      bool late = co_await answers("10.43.0.81", "a");
      CHECK(late);
      api.erase("services", "default", "web");
      bool gone = co_await answers("10.43.0.80", "refused");
      CHECK(gone);
      // Someone deletes the table: the next change brings everything back.
      output_of("nft delete table ip brume");
      api.seed("endpointslices.discovery.k8s.io", slice_json("late-1", "late", {b.address}));
      bool back = co_await answers("10.43.0.81", "b");
      CHECK(back);
      co_await proxy->stop();
      bool stays = co_await answers("10.43.0.81", "b");
      CHECK(stays);
      co_await informers.stop();
    });
    loop.stop();
    ok(network::ServiceProxy::cleanup());
    CHECK(output_of("nft list ruleset").find("table ip brume ") == std::string::npos);
  });
}
