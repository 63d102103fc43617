#include <set>

#include "core_fixture.h"

using namespace brume;
using namespace brume::apiserver;
using namespace brume::apiserver::core_test;

namespace {

Json service(std::string name, std::string spec = R"({"ports":[{"port":80}],"selector":{"a":"b"}})") {
  Json out{{"metadata", {{"name", std::move(name)}}}};
  out["spec"] = json(spec);
  return out;
}

std::string ip_of(const api::ObjectPtr& object) { return std::string(str(at(object->parse(), "spec"), "clusterIP")); }

}  // namespace

TEST_CASE("services get addresses until the range is full") {
  Fixture f({.service_cidr = "10.9.0.0/28"});  // 14 addresses, one of them for DNS
  f.run([&]() -> Task<void> {
    std::set<std::string> seen;
    for (int i = 0; i < 13; ++i) {
      auto made = co_await f.registry->create(services(), "default", service("s" + std::to_string(i)), {});
      REQUIRE(made);
      seen.insert(ip_of(*made));
      const Json spec = at((*made)->parse(), "spec");
      CHECK(spec["clusterIPs"] == Json::array({ip_of(*made)}));
      CHECK(spec["ipFamilies"] == Json::array({"IPv4"}));
      CHECK(spec["ipFamilyPolicy"] == "SingleStack");
    }
    CHECK(seen.size() == 13);
    CHECK(!seen.contains("10.9.0.10"));
    auto full = co_await f.registry->create(services(), "default", service("full"), {});
    CHECK(why(full) == "Internal error occurred: failed to allocate a serviceIP: range is full");
    REQUIRE(co_await f.registry->remove(services(), "default", "s3", {}, {}));
    CHECK(co_await f.registry->create(services(), "default", service("full"), {}));
    // Whoever asks for the tenth address gets it.
    CHECK(co_await f.registry->create(services(), "kube-system",
                                      service("kube-dns", R"({"clusterIP":"10.9.0.10","ports":[{"port":53}]})"), {}));
  });
}

TEST_CASE("explicit addresses: taken, outside, headless, external") {
  Fixture f;
  f.run([&]() -> Task<void> {
    const std::string spec = R"({"clusterIP":"10.43.0.77","ports":[{"port":80}]})";
    REQUIRE(co_await f.registry->create(services(), "default", service("a", spec), {}));
    auto twice = co_await f.registry->create(services(), "default", service("b", spec), {});
    CHECK(twice.error().code == Code::kInvalid);
    CHECK(why(twice) ==
          "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"10.43.0.77\"]: failed to allocate IP "
          "10.43.0.77: provided IP is already allocated");
    auto outside = co_await f.registry->create(services(), "default",
                                               service("c", R"({"clusterIP":"10.1.1.1","ports":[{"port":80}]})"), {});
    CHECK(why(outside).find("is not in the valid range. The range of valid IPs is 10.43.0.0/16") != std::string::npos);
    auto headless = co_await f.registry->create(
        services(), "default", service("h", R"({"clusterIP":"None","selector":{"a":"b"},"ports":[{"port":80}]})"), {});
    REQUIRE(headless);
    CHECK(at((*headless)->parse(), "spec", "clusterIPs") == Json::array({"None"}));
    auto external = co_await f.registry->create(
        services(), "default", service("e", R"({"type":"ExternalName","externalName":"example.com"})"), {});
    REQUIRE(external);
    CHECK(!at((*external)->parse(), "spec").contains("clusterIP"));
    // To a ClusterIP and back: the address is given and given back.
    auto cluster = co_await f.registry->patch(
        services(), "default", "e", "", PatchType::kMerge,
        json(R"({"spec":{"type":"ClusterIP","externalName":null,"ports":[{"port":80}]}})"), {});
    REQUIRE(cluster);
    const std::string ip = ip_of(*cluster);
    CHECK(!ip.empty());
    REQUIRE(co_await f.registry->patch(services(), "default", "e", "", PatchType::kMerge,
                                       json(R"({"spec":{"type":"ExternalName","externalName":"example.com"}})"), {}));
    CHECK(co_await f.registry->create(services(), "default",
                                      service("r", R"({"clusterIP":")" + ip + R"(","ports":[{"port":80}]})"), {}));
    // A dry run holds nothing.
    WriteContext dry;
    dry.dry_run = true;
    const std::string free = R"({"clusterIP":"10.43.0.99","ports":[{"port":80}]})";
    REQUIRE(co_await f.registry->create(services(), "default", service("d", free), dry));
    CHECK(co_await f.registry->create(services(), "default", service("d", free), {}));
  });
}

TEST_CASE("node ports") {
  Fixture f({.node_port_first = 30000, .node_port_last = 30003});
  f.run([&]() -> Task<void> {
    auto made = co_await f.registry->create(
        services(), "default",
        service(
            "a",
            R"({"type":"NodePort","ports":[{"name":"t","port":53,"protocol":"TCP"},{"name":"u","port":53,"protocol":"UDP"}]})"),
        {});
    REQUIRE(made);
    const Json ports = at((*made)->parse(), "spec", "ports");
    CHECK(num(ports[0], "nodePort") >= 30000);
    CHECK(num(ports[0], "nodePort") == num(ports[1], "nodePort"));
    const auto taken = std::to_string(num(ports[0], "nodePort"));
    auto clash = co_await f.registry->create(
        services(), "default", service("b", R"({"type":"NodePort","ports":[{"port":80,"nodePort":)" + taken + "}]}"),
        {});
    CHECK(why(clash) == "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: " + taken +
                            ": provided port is already allocated");
    auto outside = co_await f.registry->create(
        services(), "default", service("b", R"({"type":"NodePort","ports":[{"port":80,"nodePort":29999}]})"), {});
    CHECK(why(outside).find("provided port is not in the valid range. The range of valid ports is 30000-30003") !=
          std::string::npos);
    // kubectl sends the object back without the ports that were allocated: they stay.
    Json body = (*made)->parse();
    for (Json& port : body["spec"]["ports"]) port.erase("nodePort");
    auto kept = co_await f.registry->update(services(), "default", "a", "", body, {});
    CHECK(std::to_string(num(at(kept.value()->parse(), "spec", "ports").at(0), "nodePort")) == taken);
    // ClusterIP needs none: they are free again.
    auto plain = co_await f.registry->patch(services(), "default", "a", "", PatchType::kMerge,
                                            json(R"({"spec":{"type":"ClusterIP"}})"), {});
    CHECK(!at(plain.value()->parse(), "spec", "ports").at(0).contains("nodePort"));
    CHECK(co_await f.registry->create(
        services(), "default", service("b", R"({"type":"NodePort","ports":[{"port":80,"nodePort":)" + taken + "}]}"),
        {}));
  });
}

TEST_CASE("a new registry knows what is allocated") {
  Fixture f;
  f.run([&]() -> Task<void> {
    const std::string spec = R"({"clusterIP":"10.43.0.77","ports":[{"port":80}]})";
    REQUIRE(co_await f.registry->create(services(), "default", service("a", spec), {}));
    f.registry.reset();
    auto opened = co_await Registry::open(*f.store, {}, system_clock());
    REQUIRE(opened);
    f.registry = std::move(*opened);
    CHECK(!co_await f.registry->create(services(), "default", service("b", spec), {}));
  });
}
