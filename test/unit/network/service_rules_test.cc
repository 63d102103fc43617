#include "service_rules.h"

#include <linux/netlink.h>

#include <fstream>
#include <map>

#include "brume/linux/link.h"
#include "node_fixture.h"

using namespace brume;
using namespace brume::test;
using network::ServicePort;
using network::ServicePorts;
using network::ServiceRules;

namespace {

ServicePort service(const std::string& cluster_ip, std::vector<network::ServiceEndpoint> endpoints,
                    std::uint8_t protocol = IPPROTO_TCP) {
  ServicePort port;
  port.protocol = protocol;
  port.port = 80;
  if (!cluster_ip.empty()) port.cluster_ips = {ip(cluster_ip)};
  port.endpoints = std::move(endpoints);
  return port;
}

std::map<std::string, int> tally(const Netns* netns, const std::string& address, std::uint16_t port, int times,
                                 Protocol protocol = Protocol::kTcp) {
  std::map<std::string, int> counts;
  for (int i = 0; i < times; ++i) ++counts[who(netns, protocol, address, port)];
  return counts;
}

void bridge_hooks(bool on) { std::ofstream("/proc/sys/net/bridge/bridge-nf-call-iptables") << (on ? "1" : "0"); }

/// A node with three pods and an outside client; services are up to the test.
struct Cluster {
  Node node;
  Netns outside;
  Pod a{node, "a"};
  Pod b{node, "b"};
  Pod c{node, "c"};
  ServiceRules rules;

  Cluster() : rules(ok(ServiceRules::open(node.service_options()))) {
    join(nullptr, "192.0.2.1", &outside, "192.0.2.2", true);
  }
};

}  // namespace

TEST_CASE("a cluster IP spreads over its endpoints, from pods and from the node, with and without bridge hooks") {
  for (bool hooks : {false, true}) {
    in_new_netns([&] {
      bridge_hooks(hooks);
      Cluster t;
      ok(t.rules.start(
          {{"default/web/http/tcp", service("10.43.0.80", {t.a.endpoint(), t.b.endpoint()})},
           {"default/web/dgram/udp", service("10.43.0.80", {t.a.endpoint(), t.b.endpoint()}, IPPROTO_UDP)}}));
      for (const Netns* client : {static_cast<const Netns*>(&t.c.netns), static_cast<const Netns*>(nullptr)}) {
        auto counts = tally(client, "10.43.0.80", 80, 40);
        CHECK(counts["a"] > 5);
        CHECK(counts["b"] > 5);
        CHECK(counts["a"] + counts["b"] == 40);
        auto datagrams = tally(client, "10.43.0.80", 80, 40, Protocol::kUdp);
        CHECK(datagrams["a"] + datagrams["b"] == 40);
        CHECK(datagrams["a"] > 5);
      }
      // The client's address is kept inside the cluster; a pod that reaches itself sees the gateway.
      ok(t.rules.apply({{"default/web/http/tcp", service("10.43.0.80", {t.a.endpoint()})}}));
      CHECK(ask(&t.c.netns, Protocol::kTcp, "10.43.0.80", 80) == "a " + t.c.address);
      CHECK(ask(&t.a.netns, Protocol::kTcp, "10.43.0.80", 80) == "a 10.42.0.1");
      // From outside, by a route to this node.
      CHECK(who(&t.outside, Protocol::kTcp, "10.43.0.80", 80) == "a");
    });
  }
}

TEST_CASE("no endpoints, no such port, no such service: refused at once") {
  in_new_netns([] {
    Cluster t;
    auto empty = service("10.43.0.80", {});
    empty.node_port = 30080;
    empty.external_ips = {ip("198.51.100.7")};
    auto datagrams = service("10.43.0.80", {}, IPPROTO_UDP);
    datagrams.node_port = 30080;
    ok(t.rules.start({{"default/web/http/tcp", empty},
                      {"default/web/dgram/udp", datagrams},
                      {"default/ok/http/tcp", service("10.43.0.81", {t.a.endpoint()})}}));
    for (auto protocol : {Protocol::kTcp, Protocol::kUdp}) {
      CHECK(ask(&t.c.netns, protocol, "10.43.0.80", 80) == "refused");
      CHECK(ask(&t.c.netns, protocol, "10.43.0.80", 81) == "refused");
      CHECK(ask(&t.c.netns, protocol, "10.43.7.7", 80) == "refused");
      // The kernel fails a local UDP send that rules refuse with EPERM.
      std::string refused = protocol == Protocol::kTcp ? "refused" : "Operation not permitted";
      CHECK(ask(nullptr, protocol, "10.43.0.80", 80) == refused);
      CHECK(ask(nullptr, protocol, "10.43.0.80", 81) == refused);
      CHECK(ask(nullptr, protocol, "10.43.7.7", 80) == refused);
      CHECK(ask(&t.outside, protocol, "192.0.2.1", 30080) == "refused");
      CHECK(ask(&t.outside, protocol, "10.43.0.80", 80) == "refused");
    }
    CHECK(ask(&t.outside, Protocol::kTcp, "198.51.100.7", 80) == "refused");
    CHECK(ask(&t.c.netns, Protocol::kTcp, "10.43.0.81", 81) == "refused");
    CHECK(who(&t.c.netns, Protocol::kTcp, "10.43.0.81", 80) == "a");
  });
}

TEST_CASE("without rules a service address goes nowhere") {
  in_new_netns([] {
    Cluster t;
    // A router upstream that would answer for everything.
    auto socket = ok(netlink::Socket::open(NETLINK_ROUTE));
    auto link = ok(netlink::find_link(socket, "out0"));
    netlink::Messages messages;
    netlink::Route all;
    all.to = *net::Cidr::parse("0.0.0.0/0");
    all.link_index = link->index;
    all.gateway = ip("192.0.2.2");
    netlink::set_route(messages, all);
    ok(socket.transact(messages));
    t.outside.run([] {
      auto inner = ok(netlink::Socket::open(NETLINK_ROUTE));
      netlink::Messages own;
      netlink::set_link(own, "lo", true);
      netlink::add_address(own, 1, ip("10.43.0.80"), 32);
      ok(inner.transact(own));
    });
    Responder tcp(&t.outside, "leak", Protocol::kTcp, 80);
    Responder udp(&t.outside, "leak", Protocol::kUdp, 80);
    for (auto protocol : {Protocol::kTcp, Protocol::kUdp}) {
      CHECK(who(&t.c.netns, protocol, "10.43.0.80", 80, 150) != "leak");
      CHECK(who(nullptr, protocol, "10.43.0.80", 80, 150) != "leak");
      ok(t.rules.start({}));
      CHECK(who(&t.c.netns, protocol, "10.43.0.80", 80, 150) != "leak");
      CHECK(who(nullptr, protocol, "10.43.0.80", 80, 150) != "leak");
      ok(ServiceRules::cleanup());
    }
    CHECK(who(nullptr, Protocol::kTcp, "192.0.2.2", 80) == "leak");  // the trap works
  });
}

TEST_CASE("node ports: from outside, from pods, from the node, by its loopback address too") {
  for (bool hooks : {false, true}) {
    in_new_netns([&] {
      bridge_hooks(hooks);
      Cluster t;
      auto web = service("10.43.0.80", {t.a.endpoint(), t.b.endpoint()});
      web.node_port = 30080;
      auto datagrams = service("10.43.0.80", {t.a.endpoint()}, IPPROTO_UDP);
      datagrams.node_port = 30080;
      ok(t.rules.start({{"default/web/http/tcp", web},
                        {"default/web/dgram/udp", datagrams},
                        {"default/inner/http/tcp", service("10.43.0.81", {t.a.endpoint()})}}));
      auto counts = tally(&t.outside, "192.0.2.1", 30080, 30);
      CHECK(counts["a"] + counts["b"] == 30);
      CHECK(counts["a"] > 3);
      CHECK(who(&t.outside, Protocol::kUdp, "192.0.2.1", 30080) == "a");
      CHECK(tally(&t.a.netns, "192.0.2.1", 30080, 10)["timeout"] == 0);
      CHECK(tally(&t.c.netns, "10.42.0.1", 30080, 10)["timeout"] == 0);
      CHECK(tally(nullptr, "192.0.2.1", 30080, 10)["timeout"] == 0);
      CHECK(tally(nullptr, "127.0.0.1", 30080, 10)["timeout"] == 0);
      CHECK(ask(nullptr, Protocol::kTcp, "127.0.0.1", 30080).ends_with(" 10.42.0.1"));
      CHECK(ask(nullptr, Protocol::kUdp, "127.0.0.1", 30080) == "a 10.42.0.1");
      CHECK(ask(nullptr, Protocol::kTcp, "127.0.0.1", 30081) == "refused");
      CHECK(ask(&t.outside, Protocol::kTcp, "192.0.2.1", 80) == "refused");
      CHECK(ask(&t.outside, Protocol::kTcp, "192.0.2.1", 30081) == "refused");
    });
  }
}

TEST_CASE("external traffic policy Local keeps the client's address and uses local endpoints only") {
  in_new_netns([] {
    Cluster t;
    auto b_elsewhere = t.b.endpoint(false);
    auto web = service("10.43.0.80", {t.a.endpoint(), b_elsewhere});
    web.node_port = 30080;
    web.external_local = true;
    web.external_ips = {ip("198.51.100.7")};
    ok(t.rules.start({{"default/web/http/tcp", web}}));
    for (int i = 0; i < 10; ++i) CHECK(ask(&t.outside, Protocol::kTcp, "192.0.2.1", 30080) == "a 192.0.2.2");
    CHECK(ask(&t.outside, Protocol::kTcp, "198.51.100.7", 80) == "a 192.0.2.2");
    auto from_pod = tally(&t.c.netns, "192.0.2.1", 30080, 30);
    CHECK(from_pod["b"] > 3);
    auto cluster = tally(&t.c.netns, "10.43.0.80", 80, 30);
    CHECK(cluster["b"] > 3);
    web.endpoints = {b_elsewhere};
    ok(t.rules.apply({{"default/web/http/tcp", web}}));
    CHECK(ask(&t.outside, Protocol::kTcp, "192.0.2.1", 30080, 150) == "timeout");
    CHECK(who(&t.c.netns, Protocol::kTcp, "192.0.2.1", 30080) == "b");
  });
}

TEST_CASE("internal traffic policy Local") {
  in_new_netns([] {
    Cluster t;
    auto web = service("10.43.0.80", {t.a.endpoint(), t.b.endpoint(false)});
    web.internal_local = true;
    ok(t.rules.start({{"default/web/http/tcp", web}}));
    CHECK(tally(&t.c.netns, "10.43.0.80", 80, 20)["a"] == 20);
    web.endpoints = {t.b.endpoint(false)};
    ok(t.rules.apply({{"default/web/http/tcp", web}}));
    CHECK(ask(&t.c.netns, Protocol::kTcp, "10.43.0.80", 80, 150) == "timeout");
  });
}

TEST_CASE("ClientIP affinity sticks, expires, and moves on when its endpoint goes") {
  in_new_netns([] {
    Cluster t;
    auto web = service("10.43.0.80", {t.a.endpoint(), t.b.endpoint()});
    web.affinity = std::chrono::seconds(1);
    ok(t.rules.start({{"default/web/http/tcp", web}}));
    std::string first = who(&t.c.netns, Protocol::kTcp, "10.43.0.80", 80);
    CHECK((first == "a" || first == "b"));
    CHECK(tally(&t.c.netns, "10.43.0.80", 80, 15)[first] == 15);
    // The chosen endpoint goes: the client moves to the other one, and sticks to it when the first comes back.
    std::string other = first == "a" ? "b" : "a";
    auto kept = web;
    kept.endpoints = {first == "a" ? t.b.endpoint() : t.a.endpoint()};
    ok(t.rules.apply({{"default/web/http/tcp", kept}}));
    CHECK(tally(&t.c.netns, "10.43.0.80", 80, 5)[other] == 5);
    ok(t.rules.apply({{"default/web/http/tcp", web}}));
    CHECK(tally(&t.c.netns, "10.43.0.80", 80, 15)[other] == 15);
    auto remembered = [] { return output_of("nft list map ip brume clients/default/web/http/tcp"); };
    CHECK(remembered().find(t.c.address) != std::string::npos);
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    CHECK(remembered().find(t.c.address) == std::string::npos);
  });
}

TEST_CASE("a change touches one service; removal; a table deleted by someone else comes back") {
  in_new_netns([] {
    Cluster t;
    ok(t.rules.start({{"default/web/http/tcp", service("10.43.0.80", {t.a.endpoint()})},
                      {"default/other/http/tcp", service("10.43.0.81", {t.b.endpoint()})}}));
    auto handle = [] {
      return output_of("nft -a list chain ip brume cluster/default/other/http/tcp 2>&1 | grep handle");
    };
    std::string before = handle();
    CHECK(before.find("numgen") != std::string::npos);
    ok(t.rules.apply({{"default/web/http/tcp", service("10.43.0.80", {t.a.endpoint(), t.c.endpoint()})}}));
    CHECK(handle() == before);
    ok(t.rules.apply({{"default/web/http/tcp", service("10.43.0.90", {t.a.endpoint()})}}));
    CHECK(ask(&t.c.netns, Protocol::kTcp, "10.43.0.80", 80) == "refused");
    CHECK(who(&t.c.netns, Protocol::kTcp, "10.43.0.90", 80) == "a");
    CHECK(who(&t.c.netns, Protocol::kTcp, "10.43.0.81", 80) == "b");
    CHECK(handle() == before);
    ok(t.rules.apply({{"default/web/http/tcp", std::nullopt}}));
    CHECK(ask(&t.c.netns, Protocol::kTcp, "10.43.0.90", 80) == "refused");
    CHECK(output_of("nft list ruleset").find("default/web") == std::string::npos);
    output_of("nft delete table ip brume");
    ok(t.rules.apply({{"default/web/http/tcp", service("10.43.0.80", {t.a.endpoint()})}}));
    CHECK(who(&t.c.netns, Protocol::kTcp, "10.43.0.80", 80) == "a");
    CHECK(who(&t.c.netns, Protocol::kTcp, "10.43.0.81", 80) == "b");
  });
}

TEST_CASE("two services that claim one external address: the first by name has it, the other after it") {
  in_new_netns([] {
    Cluster t;
    auto first = service("10.43.0.80", {t.a.endpoint()});
    auto second = service("10.43.0.81", {t.b.endpoint()});
    first.external_ips = second.external_ips = {ip("198.51.100.7")};
    ok(t.rules.start({{"default/second/http/tcp", second}}));
    CHECK(who(&t.outside, Protocol::kTcp, "198.51.100.7", 80) == "b");
    ok(t.rules.apply({{"default/first/http/tcp", first}}));
    CHECK(who(&t.outside, Protocol::kTcp, "198.51.100.7", 80) == "a");
    ok(t.rules.apply({{"default/first/http/tcp", std::nullopt}}));
    CHECK(who(&t.outside, Protocol::kTcp, "198.51.100.7", 80) == "b");
  });
}

TEST_CASE("a UDP client moves when its endpoint goes") {
  in_new_netns([] {
    Cluster t;
    ok(t.rules.start({{"default/dns/dns/udp", service("10.43.0.10", {t.a.endpoint()}, IPPROTO_UDP)}}));
    // One source port throughout: to connection tracking it is one flow.
    CHECK(ask(&t.c.netns, Protocol::kUdp, "10.43.0.10", 80, 400, 5353) == "a " + t.c.address);
    ok(t.rules.apply({{"default/dns/dns/udp", service("10.43.0.10", {t.b.endpoint()}, IPPROTO_UDP)}}));
    CHECK(ask(&t.c.netns, Protocol::kUdp, "10.43.0.10", 80, 400, 5353) == "b " + t.c.address);
  });
}

TEST_CASE("a restart keeps connections; cleanup leaves nothing") {
  in_new_netns([] {
    std::string rules_before = output_of("nft list ruleset");
    {
      Cluster t;
      ServicePorts services{{"default/web/http/tcp", service("10.43.0.80", {t.a.endpoint()})}};
      ok(t.rules.start(services));
      CHECK(who(&t.c.netns, Protocol::kTcp, "10.43.0.80", 80) == "a");
      std::string flows = output_of("conntrack -C 2>/dev/null");
      auto again = ok(ServiceRules::open(t.node.service_options()));
      CHECK(who(&t.c.netns, Protocol::kTcp, "10.43.0.80", 80) == "a");
      ok(again.start(services));
      CHECK(who(&t.c.netns, Protocol::kTcp, "10.43.0.80", 80) == "a");
      CHECK(std::stoi("0" + output_of("conntrack -C 2>/dev/null")) >= std::stoi("0" + flows));
      ok(ServiceRules::cleanup());
      ok(ServiceRules::cleanup());
      ok(network::PodLinks::cleanup(t.node.options));
    }
    CHECK(output_of("nft list ruleset") == rules_before);
  });
}

TEST_CASE("a thousand services: one transaction, and a small change stays small") {
  in_new_netns([] {
    Cluster t;
    ServicePorts services;
    for (std::uint32_t i = 0; i < 1000; ++i) {
      auto one = service("", {t.a.endpoint(), t.b.endpoint(), t.c.endpoint()});
      one.cluster_ips = {ip("10.43.100.0").plus(i)};
      services["default/s" + std::to_string(i) + "/http/tcp"] = one;
    }
    ok(t.rules.start(services));
    CHECK(who(&t.c.netns, Protocol::kTcp, "10.43.103.231", 80) != "refused");
    auto start = std::chrono::steady_clock::now();
    auto changed = services["default/s7/http/tcp"];
    changed.endpoints.pop_back();
    ok(t.rules.apply({{"default/s7/http/tcp", changed}}));
    auto took = std::chrono::steady_clock::now() - start;
    if (getenv("BRUME_TIMES"))
      WARN("change of one: " << std::chrono::duration_cast<std::chrono::microseconds>(took).count() << " us");
  });
}
