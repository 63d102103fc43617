#include "bench.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

const char* const kSlices = "endpointslices.discovery.k8s.io";

Json service(bool selects = false) {
  Json out = {{"metadata", {{"name", "db"}}}, {"spec", {{"ports", Json::array({{{"port", 80}}})}}}};
  if (selects) out["spec"]["selector"] = {{"app", "db"}};
  return out;
}

Json port(const char* name, int number) { return {{"name", name}, {"port", number}, {"protocol", "TCP"}}; }

Json endpoints(Json subsets) {
  return {{"metadata",
           {{"name", "db"},
            {"labels", {{"app", "db"}}},
            {"annotations", {{"note", "1"}, {"kubectl.kubernetes.io/last-applied-configuration", "x"}}}}},
          {"subsets", std::move(subsets)}};
}

Json subset(std::initializer_list<const char*> ready, Json ports, std::initializer_list<const char*> unready = {}) {
  Json out = {{"ports", std::move(ports)}};
  for (const char* ip : ready) out["addresses"].push_back({{"ip", ip}});
  for (const char* ip : unready) out["notReadyAddresses"].push_back({{"ip", ip}});
  return out;
}

}  // namespace

TEST_CASE("Endpoints of a Service without selector are mirrored, changed and gone with it") {
  Bench b({make_endpoint_slice_mirroring});
  b.run([&]() -> Task<void> {
    b.api.seed("services", service());
    b.api.seed("endpoints",
               endpoints(Json::array({subset({"10.0.0.1", "fd00::1"}, Json::array({port("a", 80)}), {"10.0.0.2"})})));
    co_await b.rest();
    auto slices = b.api.all(kSlices);
    REQUIRE(slices.size() == 2);
    const Json four = b.api.json(kSlices, "default",
                                 (at(slices[0]->parse(), "addressType") == "IPv4" ? slices[0] : slices[1])->name());
    CHECK(slices[0]->name().starts_with("db-"));
    CHECK(at(four, "metadata", "labels") ==
          Json{{"app", "db"},
               {"kubernetes.io/service-name", "db"},
               {"endpointslice.kubernetes.io/managed-by", "endpointslicemirroring-controller.k8s.io"}});
    CHECK(at(four, "metadata", "annotations") == Json{{"note", "1"}});
    CHECK(slices[0]->controller()->kind == "Endpoints");
    CHECK(at(four, "endpoints") ==
          Json::array({{{"addresses", Json::array({"10.0.0.1"})}, {"conditions", {{"ready", true}}}},
                       {{"addresses", Json::array({"10.0.0.2"})}, {"conditions", {{"ready", false}}}}}));
    CHECK(at(four, "ports") == Json::array({port("a", 80)}));

    const std::string name(str(at(four, "metadata"), "name"));
    b.edit("endpoints", "default", "db",
           [](Json& e) { e["subsets"] = Json::array({subset({"10.0.0.3"}, Json::array({port("a", 81)}))}); });
    co_await b.rest();
    REQUIRE(b.api.all(kSlices).size() == 1);
    CHECK(b.api.all(kSlices)[0]->name() == name);  // the slice is used again for other ports
    CHECK(at(b.api.all(kSlices)[0]->parse(), "ports")[0]["port"] == 81);

    b.edit(kSlices, "default", name, [](Json& slice) { slice["endpoints"] = Json::array(); });
    co_await b.rest();
    CHECK(at(b.api.json(kSlices, "default", name), "endpoints").size() == 1);  // mended
    b.api.erase("endpoints", "default", "db");
    co_await b.rest();
    CHECK(b.api.all(kSlices).empty());
  });
}

TEST_CASE("an address of several subsets is one with all of their ports") {
  Bench b({make_endpoint_slice_mirroring});
  b.run([&]() -> Task<void> {
    b.api.seed("services", service());
    b.api.seed("endpoints", endpoints(Json::array({subset({"10.0.0.1"}, Json::array({port("a", 80)})),
                                                   subset({"10.0.0.1"}, Json::array({port("b", 81)}))})));
    co_await b.rest();
    REQUIRE(b.api.all(kSlices).size() == 1);
    CHECK(at(b.api.all(kSlices)[0]->parse(), "ports").size() == 2);
    CHECK(at(b.api.all(kSlices)[0]->parse(), "endpoints").size() == 1);
    b.edit("endpoints", "default", "db", [](Json& e) {
      e["subsets"] = Json::array({subset({"10.0.0.1", "10.0.0.2"}, Json::array({port("a", 80)})),
                                  subset({"10.0.0.1"}, Json::array({port("b", 81)}))});
    });
    co_await b.rest();
    CHECK(b.api.all(kSlices).size() == 2);
  });
}

TEST_CASE("what is not mirrored") {
  Bench b({make_endpoint_slice_mirroring});
  b.run([&]() -> Task<void> {
    const Json subsets = Json::array({subset({"10.0.0.1"}, Json::array({port("a", 80)}))});
    b.api.seed("endpoints", endpoints(subsets));
    co_await b.rest();
    CHECK(b.api.all(kSlices).empty());  // there is no Service
    b.api.seed("services", service());
    co_await b.rest();
    CHECK(b.api.all(kSlices).size() == 1);
    b.edit("endpoints", "default", "db",
           [](Json& e) { e["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"] = "true"; });
    co_await b.rest();
    CHECK(b.api.all(kSlices).empty());
    b.edit("endpoints", "default", "db", [](Json& e) {
      e["metadata"]["labels"].clear();
      e["metadata"]["annotations"]["control-plane.alpha.kubernetes.io/leader"] = "{}";
    });
    co_await b.rest();
    CHECK(b.api.all(kSlices).empty());
    b.edit("endpoints", "default", "db", [](Json& e) { e["metadata"].erase("annotations"); });
    co_await b.rest();
    CHECK(b.api.all(kSlices).size() == 1);
    b.edit("services", "default", "db", [](Json& s) { s["spec"]["selector"] = {{"app", "db"}}; });
    co_await b.rest();
    CHECK(b.api.all(kSlices).empty());
  });
}

TEST_CASE("too many addresses, and such as are none, are told of") {
  Bench b({make_endpoint_slice_mirroring});
  b.run([&]() -> Task<void> {
    b.api.seed("services", service());
    Json many = subset({}, Json::array({port("a", 80)}));
    for (int i = 0; i < 1002; ++i) {
      many["addresses"].push_back({{"ip", "10.1." + std::to_string(i / 250) + "." + std::to_string(i % 250)}});
    }
    many["addresses"].push_back({{"ip", "nowhere"}});
    b.api.seed("endpoints", endpoints(Json::array({many})));
    co_await b.rest();
    CHECK(at(b.api.all(kSlices).at(0)->parse(), "endpoints").size() == 1000);
    CHECK(b.events("InvalidIPAddress").at(0) == "Skipped 1 invalid IP addresses when mirroring to EndpointSlices");
    CHECK(b.events("TooManyAddressesToMirror").at(0) ==
          "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 3 addresses were skipped");
  });
}
