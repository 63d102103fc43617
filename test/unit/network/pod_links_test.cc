#include "brume/network/pod_links.h"

#include <linux/netlink.h>

#include <chrono>
#include <fstream>

#include "brume/linux/link.h"
#include "brume/linux/nft.h"
#include "node_fixture.h"

using namespace brume;
using namespace brume::test;
using network::PodHostPort;

namespace {
void bridge_hooks(bool on) { std::ofstream("/proc/sys/net/bridge/bridge-nf-call-iptables") << (on ? "1" : "0"); }
}  // namespace

TEST_CASE("pods reach each other, the node reaches pods, pods reach the node") {
  for (bool hooks : {false, true}) {
    in_new_netns([&] {
      bridge_hooks(hooks);
      Node node;
      Pod a(node, "a");
      Pod b(node, "b");
      CHECK(a.address == "10.42.0.2");
      CHECK(b.address == "10.42.0.3");
      CHECK(ask(&a.netns, Protocol::kTcp, b.address, 80) == "b " + a.address);
      CHECK(ask(&a.netns, Protocol::kUdp, b.address, 80) == "b " + a.address);
      CHECK(ask(nullptr, Protocol::kTcp, a.address, 80) == "a 10.42.0.1");
      Responder on_node(nullptr, "node", Protocol::kTcp, 7000);
      CHECK(ask(&a.netns, Protocol::kTcp, "10.42.0.1", 7000) == "node " + a.address);
      CHECK(ask(&a.netns, Protocol::kTcp, "127.0.0.1", 80) == "a 127.0.0.1");
      CHECK(ask(&a.netns, Protocol::kTcp, b.address, 81) == "refused");
    });
  }
}

TEST_CASE("attach is idempotent, and addresses survive a restart") {
  in_new_netns([] {
    Node node;
    Pod a(node, "a");
    Pod b(node, "b");
    CHECK(node.attach("a", a.netns) == a.address);
    node.links.reset();
    node.start();
    CHECK(ask(&a.netns, Protocol::kTcp, b.address, 80) == "b " + a.address);
    CHECK(node.attach("a", a.netns) == a.address);
    CHECK(node.links->attached() == std::set<std::string>{"a", "b"});
    Pod c(node, "c");
    CHECK(c.address == "10.42.0.4");
    SECTION("the same pod in a new namespace keeps its address") {
      Netns renewed;
      CHECK(node.attach("a", renewed) == a.address);
      Responder again(&renewed, "renewed", Protocol::kTcp, 80);
      CHECK(ask(&b.netns, Protocol::kTcp, a.address, 80) == "renewed " + b.address);
    }
    SECTION("a released address is not given out at once") {
      ok(node.links->detach("c"));
      ok(node.links->detach("c"));
      CHECK(ask(&a.netns, Protocol::kTcp, c.address, 80, 100) != "c " + a.address);
      Pod d(node, "d");
      CHECK(d.address == "10.42.0.5");
      CHECK(node.links->attached() == std::set<std::string>{"a", "b", "d"});
    }
  });
}

TEST_CASE("a full block is an error, and freed addresses come back") {
  in_new_netns([] {
    Node node;
    node.links.reset();
    ok(network::PodLinks::cleanup(node.options));
    node.options.pod_cidr = *net::Cidr::parse("10.42.0.0/29");
    node.start();
    std::vector<std::unique_ptr<Netns>> netns;
    for (int i = 0; i < 5; ++i) {
      netns.push_back(std::make_unique<Netns>());
      CHECK(node.attach("p" + std::to_string(i), *netns.back()) == "10.42.0." + std::to_string(i + 2));
    }
    Netns extra;
    auto full = node.links->attach("extra", extra.path(), {});
    REQUIRE(!full.has_value());
    CHECK(full.error().code == Code::kTooManyRequests);
    ok(node.links->detach("p3"));
    CHECK(node.attach("extra", extra) == "10.42.0.5");
  });
}

TEST_CASE("attach that fails leaves nothing behind") {
  in_new_netns([] {
    Node node;
    auto missing = node.links->attach("a", "/nonexistent/netns", {});
    REQUIRE(!missing.has_value());
    CHECK(missing.error().code == Code::kNotFound);
    auto wrong = node.links->attach("a", "/proc/self/ns/uts", {});
    CHECK(!wrong.has_value());
    CHECK(node.links->attached().empty());
    CHECK(!node.links->attach("bad uid\n", "/proc/thread-self/ns/net", {}).has_value());
  });
}

TEST_CASE("host ports lead to the pod, also to itself, and survive a restart") {
  for (bool hooks : {false, true}) {
    in_new_netns([&] {
      bridge_hooks(hooks);
      Node node;
      Netns outside;
      join(nullptr, "192.0.2.1", &outside, "192.0.2.2", false);
      Pod a(node, "a", {{IPPROTO_TCP, 8080, 80, {}}, {IPPROTO_UDP, 8080, 80, {}}});
      Pod b(node, "b", {{IPPROTO_TCP, 8081, 80, ip("192.0.2.1")}, {IPPROTO_TCP, 8082, 80, ip("127.0.0.1")}});
      auto check = [&] {
        CHECK(ask(&outside, Protocol::kTcp, "192.0.2.1", 8080) == "a 192.0.2.2");
        CHECK(ask(&outside, Protocol::kUdp, "192.0.2.1", 8080) == "a 192.0.2.2");
        CHECK(ask(&outside, Protocol::kTcp, "192.0.2.1", 8081) == "b 192.0.2.2");
        CHECK(who(nullptr, Protocol::kTcp, "192.0.2.1", 8080) == "a");
        CHECK(ask(nullptr, Protocol::kTcp, "127.0.0.1", 8080) == "a 10.42.0.1");
        CHECK(ask(nullptr, Protocol::kUdp, "127.0.0.1", 8080) == "a 10.42.0.1");
        CHECK(who(nullptr, Protocol::kTcp, "127.0.0.1", 8081) == "refused");
        CHECK(who(nullptr, Protocol::kTcp, "127.0.0.1", 8082) == "b");
        CHECK(who(&b.netns, Protocol::kTcp, "192.0.2.1", 8080) == "a");
        CHECK(who(&a.netns, Protocol::kTcp, "192.0.2.1", 8080) == "a");
        CHECK(who(&b.netns, Protocol::kTcp, "10.42.0.1", 8081) == "refused");
      };
      check();
      node.links.reset();
      node.start();
      check();
      ok(node.links->detach("a"));
      CHECK(who(&outside, Protocol::kTcp, "192.0.2.1", 8080) == "refused");
      CHECK(who(&outside, Protocol::kTcp, "192.0.2.1", 8081) == "b");
    });
  }
}

TEST_CASE("a UDP client that was there before the host port's owner reaches it, and the next one") {
  in_new_netns([] {
    Node node;
    Netns outside;
    join(nullptr, "192.0.2.1", &outside, "192.0.2.2", false);
    const auto answer = [&] { return ask(&outside, Protocol::kUdp, "192.0.2.1", 5300, 400, 5353); };
    CHECK(answer() == "refused");
    Pod a(node, "a", {{IPPROTO_UDP, 5300, 80, {}}});
    CHECK(answer() == "a 192.0.2.2");
    ok(node.links->detach("a"));
    Pod b(node, "b", {{IPPROTO_UDP, 5300, 80, {}}});
    CHECK(answer() == "b 192.0.2.2");
  });
}

TEST_CASE("beyond the cluster a pod appears as the node; loopback is out of reach") {
  in_new_netns([] {
    Node node;
    Netns outside;
    join(nullptr, "192.0.2.1", &outside, "192.0.2.2", false);
    Pod a(node, "a");
    Responder far(&outside, "far", Protocol::kTcp, 90);
    CHECK(ask(&a.netns, Protocol::kTcp, "192.0.2.2", 90) == "far 192.0.2.1");
    // The attack of CVE-2020-8558 needs a neighbour that routes 127.0.0.1 to the node, and a node that listens there.
    Responder secret(nullptr, "secret", Protocol::kTcp, 9000, "127.0.0.1");
    std::ofstream("/proc/sys/net/ipv4/conf/all/route_localnet") << "1";
    outside.run([] {
      std::ofstream("/proc/sys/net/ipv4/conf/all/route_localnet") << "1";
      auto socket = ok(netlink::Socket::open(NETLINK_ROUTE));
      auto link = ok(netlink::find_link(socket, "out0"));
      netlink::Messages messages;
      netlink::Route route;
      route.to = *net::Cidr::parse("127.0.0.0/8");
      route.link_index = link->index;
      route.gateway = ip("192.0.2.1");
      netlink::set_route(messages, route);
      netlink::Messages down;
      netlink::set_link(down, "lo", false);
      ok(socket.transact(down));
      ok(socket.transact(messages));
    });
    CHECK(who(&outside, Protocol::kTcp, "127.0.0.1", 9000, 200) != "secret");
  });
}

TEST_CASE("cleanup leaves no link, route, rule or file") {
  in_new_netns([] {
    std::string links_before = output_of("ip -o link | cut -d: -f2; ip route; nft list ruleset");
    Node node;
    Pod a(node, "a", {{IPPROTO_TCP, 8080, 80, {}}});
    Pod b(node, "b");
    CHECK(output_of("ip -o link; nft list ruleset").find("brume") != std::string::npos);
    node.links.reset();
    std::filesystem::remove_all(node.options.state_dir);  // even so
    ok(network::PodLinks::cleanup(node.options));
    ok(network::PodLinks::cleanup(node.options));
    CHECK(output_of("ip -o link | cut -d: -f2; ip route; nft list ruleset") == links_before);
    CHECK(!std::filesystem::exists(node.options.state_dir));
  });
}

TEST_CASE("files that make no sense do not keep the node from starting") {
  in_new_netns([] {
    Node node;
    Pod a(node, "a");
    node.links.reset();
    std::ofstream(node.options.state_dir + "/ips/10.42.0.9") << "";
    std::ofstream(node.options.state_dir + "/ips/10.99.0.9") << "uid x\n";
    std::ofstream(node.options.state_dir + "/ips/10.42.0.10.new") << "uid y\n";
    node.start();
    CHECK(node.links->attached() == std::set<std::string>{"a"});
    CHECK(!std::filesystem::exists(node.options.state_dir + "/ips/10.42.0.9"));
  });
}

TEST_CASE("twenty pods are attached") {
  in_new_netns([] {
    Node node;
    std::vector<std::unique_ptr<Netns>> netns;
    for (int i = 0; i < 20; ++i) netns.push_back(std::make_unique<Netns>());
    auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 20; ++i) node.attach("p" + std::to_string(i), *netns[static_cast<std::size_t>(i)]);
    auto each = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start) / 20;
    if (getenv("BRUME_TIMES")) WARN("attach: " << each.count() << " us");
  });
}

namespace {

/// A firewall as Docker, ufw or an administrator loads it: what no rule accepts is dropped.
void load_firewall(nft::Family family, const std::string& table) {
  auto socket = ok(netlink::Socket::open(NETLINK_NETFILTER));
  nft::Batch batch(family, table);
  using nft::Hook;
  batch.add_table();
  batch.delete_table();
  batch.add_table();
  batch.add_chain("FORWARD", Hook{Hook::Type::kFilter, Hook::Point::kForward, 0, true});
  batch.add_chain("INPUT", Hook{Hook::Type::kFilter, Hook::Point::kInput, 0, true});
  batch.add_rule("INPUT", nft::Rule().input_interface_is("lo").verdict({}));
  ok(batch.commit(socket));
}

std::size_t rules_in(nft::Family family, const std::string& table, const std::string& chain) {
  auto socket = ok(netlink::Socket::open(NETLINK_NETFILTER));
  return ok(nft::list_rules(socket, family, table, chain)).size();
}

}  // namespace

TEST_CASE("a firewall that drops by policy lets pods pass, whether it was there before or comes later") {
  for (const nft::Family family : {nft::Family::kIpv4, nft::Family::kInet}) {
    in_new_netns([&] {
      load_firewall(family, "filter");
      Node node;
      Pod a(node, "a");
      Pod b(node, "b");
      Responder api(nullptr, "api", Protocol::kTcp, 6443);
      Responder other(nullptr, "other", Protocol::kTcp, 7000);
      CHECK(ask(&a.netns, Protocol::kTcp, b.address, 80) == "b " + a.address);
      CHECK(ask(&a.netns, Protocol::kTcp, "10.42.0.1", 6443) == "api " + a.address);
      CHECK(ask(&a.netns, Protocol::kTcp, "10.42.0.1", 7000, 300) !=
            "other " + a.address);  // as the administrator had it

      ok(node.links->pass_firewalls());
      CHECK(rules_in(family, "filter", "FORWARD") == 2);
      CHECK(rules_in(family, "filter", "INPUT") == 2);
      load_firewall(family, "filter");  // reloaded: brume's rules are gone
      CHECK(ask(&a.netns, Protocol::kTcp, b.address, 80, 300) != "b " + a.address);
      ok(node.links->pass_firewalls());
      CHECK(ask(&a.netns, Protocol::kTcp, b.address, 80) == "b " + a.address);

      node.links.reset();
      auto socket = ok(netlink::Socket::open(NETLINK_NETFILTER));
      nft::Batch lax(family, "filter");  // its policy does not matter to the cleanup
      using nft::Hook;
      lax.add_chain("FORWARD", Hook{Hook::Type::kFilter, Hook::Point::kForward, 0, false});
      ok(lax.commit(socket));
      ok(network::PodLinks::cleanup(node.options));
      CHECK(rules_in(family, "filter", "FORWARD") == 0);
      CHECK(rules_in(family, "filter", "INPUT") == 1);
    });
  }
}
