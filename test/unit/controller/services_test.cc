#include "bench.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

Json service(const std::string& name, Json spec = Json::object()) {
  Json value = {
      {"metadata", {{"name", name}, {"labels", {{"team", "x"}}}}},
      {"spec",
       {{"selector", {{"app", name}}},
        {"clusterIP", "10.43.0.5"},
        {"ipFamilies", Json::array({"IPv4"})},
        {"ports", Json::array({{{"name", "http"}, {"port", 80}, {"targetPort", 8080}, {"protocol", "TCP"}}})}}}};
  value["spec"].merge_patch(spec);
  return value;
}

void pod(Bench& b, const std::string& name, const std::string& ip, bool ready = true, Json extra = Json::object()) {
  Json value = {
      {"metadata", {{"name", name}, {"labels", {{"app", "web"}}}}},
      {"spec",
       {{"nodeName", "n1"},
        {"containers",
         Json::array({{{"name", "c"}, {"ports", Json::array({{{"name", "web"}, {"containerPort", 9090}}})}}})}}},
      {"status",
       {{"phase", "Running"},
        {"podIP", ip},
        {"podIPs", Json::array({{{"ip", ip}}})},
        {"conditions", Json::array({{{"type", "Ready"}, {"status", ready ? "True" : "False"}}})}}}};
  value.merge_patch(extra);
  b.api.seed("pods", std::move(value));
}

std::vector<Json> slices(const Bench& b) {
  std::vector<Json> out;
  for (const auto& slice : b.api.all("endpointslices.discovery.k8s.io")) out.push_back(slice->parse());
  return out;
}

}  // namespace

TEST_CASE("an EndpointSlice lists the ready and the others, as conditions") {
  Bench b({make_endpoint_slice});
  b.run([&]() -> Task<void> {
    b.api.seed("nodes", {{"metadata", {{"name", "n1"}, {"labels", {{"topology.kubernetes.io/zone", "z1"}}}}}});
    pod(b, "a", "10.42.0.1");
    pod(b, "b", "10.42.0.2", false);
    pod(b, "c", "10.42.0.3", true, {{"metadata", {{"deletionTimestamp", "2026-01-01T00:00:00Z"}}}});
    pod(b, "done", "10.42.0.4", true, {{"status", {{"phase", "Succeeded"}}}});
    pod(b, "other", "10.42.0.5", true, {{"metadata", {{"labels", {{"app", "db"}}}}}});
    b.api.seed("services", service("web"));
    co_await b.rest();
    REQUIRE(slices(b).size() == 1);
    const Json slice = slices(b)[0];
    CHECK(str(at(slice, "metadata", "labels"), "kubernetes.io/service-name") == "web");
    CHECK(str(at(slice, "metadata", "labels"), "team") == "x");
    CHECK(str(at(slice, "metadata", "labels"), "endpointslice.kubernetes.io/managed-by") ==
          "endpointslice-controller.k8s.io");
    CHECK(str(slice, "addressType") == "IPv4");
    CHECK(slice["ports"] == Json::array({{{"name", "http"}, {"port", 8080}, {"protocol", "TCP"}}}));
    CHECK(str(at(slice, "metadata", "ownerReferences")[0], "kind") == "Service");
    REQUIRE(slice["endpoints"].size() == 3);
    std::map<std::string, Json> by_ip;
    for (const auto& endpoint : slice["endpoints"]) by_ip[std::string(str(endpoint["addresses"][0]))] = endpoint;
    CHECK(by_ip["10.42.0.1"]["conditions"] == Json{{"ready", true}, {"serving", true}, {"terminating", false}});
    CHECK(by_ip["10.42.0.2"]["conditions"] == Json{{"ready", false}, {"serving", false}, {"terminating", false}});
    CHECK(by_ip["10.42.0.3"]["conditions"] == Json{{"ready", false}, {"serving", true}, {"terminating", true}});
    CHECK(str(by_ip["10.42.0.1"], "zone") == "z1");
    CHECK(str(by_ip["10.42.0.1"], "nodeName") == "n1");
    CHECK(str(at(by_ip["10.42.0.1"], "targetRef"), "name") == "a");
    const auto before = b.api.revision();
    co_await b.rest();
    CHECK(b.api.revision() == before);
  });
}

TEST_CASE("slices hold a hundred each, and changes touch only what they must") {
  Bench b({make_endpoint_slice});
  b.run([&]() -> Task<void> {
    for (int i = 0; i < 250; ++i)
      pod(b, "p" + std::to_string(i), "10.42." + std::to_string(i / 200) + "." + std::to_string(i % 200 + 1));
    b.api.seed("services", service("web"));
    co_await b.rest();
    std::size_t total = 0;
    REQUIRE(slices(b).size() == 3);
    for (const auto& slice : slices(b)) {
      CHECK(slice["endpoints"].size() <= 100);
      total += slice["endpoints"].size();
    }
    CHECK(total == 250);
    b.api.clear_calls();
    pod(b, "p7", "10.42.0.8", false);
    co_await b.rest();
    CHECK(b.api.count("update", "endpointslices.discovery.k8s.io") == 1);
    CHECK(b.api.count("create", "endpointslices.discovery.k8s.io") == 0);
    for (int i = 0; i < 250; ++i) b.api.erase("pods", "default", "p" + std::to_string(i));
    co_await b.rest();
    REQUIRE(slices(b).size() == 1);
    CHECK(slices(b)[0]["endpoints"].empty());
  });
}

TEST_CASE("a Service without pods has one empty slice; one without selector none") {
  Bench b({make_endpoint_slice, make_endpoints});
  b.run([&]() -> Task<void> {
    b.api.seed("services", service("web"));
    Json bare = service("bare");
    bare["spec"].erase("selector");
    b.api.seed("services", bare);
    b.api.seed("services", service("ext", {{"type", "ExternalName"}}));
    co_await b.rest();
    REQUIRE(slices(b).size() == 1);
    CHECK(str(at(slices(b)[0], "metadata", "labels"), "kubernetes.io/service-name") == "web");
    CHECK(b.api.find("endpoints", "default", "bare") == nullptr);
    CHECK(b.api.find("endpoints", "default", "ext") == nullptr);
    CHECK(b.api.find("endpoints", "default", "web") != nullptr);
    pod(b, "a", "10.42.0.1");
    co_await b.rest();
    REQUIRE(slices(b).size() == 1);
    CHECK(slices(b)[0]["endpoints"].size() == 1);
    // What someone did to a slice is undone.
    b.api.erase("endpointslices.discovery.k8s.io", "default", std::string(str(at(slices(b)[0], "metadata"), "name")));
    co_await b.rest();
    REQUIRE(slices(b).size() == 1);
    CHECK(slices(b)[0]["endpoints"].size() == 1);
  });
}

TEST_CASE("named ports, headless Services, unready addresses published") {
  Bench b({make_endpoint_slice, make_endpoints});
  b.run([&]() -> Task<void> {
    Json made = service("web", {{"clusterIP", "None"}, {"publishNotReadyAddresses", true}});
    made["spec"]["ports"][0]["targetPort"] = "web";
    b.api.seed("services", made);
    pod(b, "a", "10.42.0.1", false, {{"spec", {{"hostname", "a-0"}, {"subdomain", "web"}}}});
    co_await b.rest();
    REQUIRE(slices(b).size() == 1);
    const Json slice = slices(b)[0];
    CHECK(at(slice, "metadata", "labels").contains("service.kubernetes.io/headless"));
    CHECK(num(slice["ports"][0], "port") == 9090);
    CHECK(flag(slice["endpoints"][0]["conditions"], "ready"));
    CHECK(str(slice["endpoints"][0], "hostname") == "a-0");
    const Json endpoints = b.api.json("endpoints", "default", "web");
    CHECK(num(at(endpoints, "subsets")[0]["ports"][0], "port") == 9090);
    CHECK(str(at(endpoints, "subsets")[0]["addresses"][0], "hostname") == "a-0");
  });
}

TEST_CASE("Endpoints tell ready from not ready, and go with their Service") {
  Bench b({make_endpoints});
  b.run([&]() -> Task<void> {
    b.api.seed("services", service("web"));
    pod(b, "a", "10.42.0.1");
    pod(b, "b", "10.42.0.2", false);
    co_await b.rest();
    const Json subset = at(b.api.json("endpoints", "default", "web"), "subsets")[0];
    CHECK(str(subset["addresses"][0], "ip") == "10.42.0.1");
    CHECK(str(subset["notReadyAddresses"][0], "ip") == "10.42.0.2");
    CHECK(subset["ports"] == Json::array({{{"name", "http"}, {"port", 8080}, {"protocol", "TCP"}}}));
    b.api.erase("services", "default", "web");
    co_await b.rest();
    CHECK(b.api.find("endpoints", "default", "web") == nullptr);
  });
}

TEST_CASE("every namespace gets its ServiceAccount and the CA; the cluster its Service") {
  Bench b(
      {make_service_account, make_root_ca, make_client_ca, make_kubernetes_service},
      {.root_ca_pem = "PEM", .client_ca_pem = "CLIENTS", .service_ip = "10.43.0.1", .advertise_address = "192.0.2.1"});
  b.run([&]() -> Task<void> {
    co_await b.rest();
    for (const char* ns : {"default", "kube-system", "kube-public", "kube-node-lease"}) {
      CHECK(b.api.find("serviceaccounts", ns, "default") != nullptr);
      CHECK(str(at(b.api.json("configmaps", ns, "kube-root-ca.crt"), "data"), "ca.crt") == "PEM");
    }
    const char* trust = "extension-apiserver-authentication";
    CHECK(str(at(b.api.json("configmaps", "kube-system", trust), "data"), "client-ca-file") == "CLIENTS");
    CHECK(b.api.find("configmaps", "default", trust) == nullptr);
    const Json service = b.api.json("services", "default", "kubernetes");
    CHECK(str(at(service, "spec"), "clusterIP") == "10.43.0.1");
    CHECK(num(at(service, "spec", "ports")[0], "targetPort") == 6443);
    CHECK(str(b.api.json("endpointslices.discovery.k8s.io", "default", "kubernetes")["endpoints"][0]["addresses"][0]) ==
          "192.0.2.1");
    b.api.erase("serviceaccounts", "default", "default");
    b.edit("configmaps", "default", "kube-root-ca.crt", [](Json& map) { map["data"]["ca.crt"] = "forged"; });
    b.api.erase("services", "default", "kubernetes");
    co_await b.rest();
    CHECK(b.api.find("serviceaccounts", "default", "default") != nullptr);
    CHECK(str(at(b.api.json("configmaps", "default", "kube-root-ca.crt"), "data"), "ca.crt") == "PEM");
    CHECK(b.api.find("services", "default", "kubernetes") != nullptr);
    const auto before = b.api.revision();
    co_await b.rest();
    CHECK(b.api.revision() == before);
  });
}
