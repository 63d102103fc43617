#include "brume/linux/nft.h"

#include <linux/netlink.h>
#include <sched.h>

#include <exception>
#include <thread>

#include "brume/linux/address.h"
#include "brume/linux/link.h"
#include "catch.h"

using namespace brume;

namespace {

/// Runs `body` in a network namespace of its own, on a thread of its own.
template <typename F>
void isolated(F body) {
  std::exception_ptr failure;
  bool made = false;
  std::thread([&] {
    made = unshare(CLONE_NEWNET) == 0;
    try {
      if (made) body();
    } catch (...) {
      failure = std::current_exception();
    }
  }).join();
  if (failure) std::rethrow_exception(failure);
  if (!made) WARN("no privilege to make a network namespace: not tested");
}

}  // namespace

TEST_CASE("addresses and blocks") {
  CHECK(net::IpAddress::parse("10.42.0.1")->plus(255).str() == "10.42.1.0");
  CHECK(net::IpAddress::parse("fd00::ffff")->plus(1).str() == "fd00::1:0");
  CHECK(!net::IpAddress::parse("10.42.0"));
  CHECK(!net::IpAddress::parse("10.42.0.01"));
  CHECK(!net::IpAddress::parse(std::string_view("10.42.0.1\0", 10)));
  CHECK(net::IpAddress::parse("::1")->is_loopback());
  CHECK(net::IpAddress::parse("127.8.0.1")->is_loopback());
  auto block = net::Cidr::parse("10.42.3.7/20");
  REQUIRE(block.has_value());
  CHECK(block->str() == "10.42.0.0/20");
  CHECK(block->host_count() == 4096);
  CHECK(block->contains(*net::IpAddress::parse("10.42.15.255")));
  CHECK(!block->contains(*net::IpAddress::parse("10.42.16.0")));
  CHECK(!block->contains(*net::IpAddress::parse("::1")));
  for (const char* bad : {"10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "/8", "10.0.0.0/8x", "::/129"}) {
    CHECK(!net::Cidr::parse(bad));
  }
  CHECK(net::Cidr::parse("0.0.0.0/0")->contains(*net::IpAddress::parse("8.8.8.8")));
}

TEST_CASE("a transaction happens whole or not at all, and its error names the culprit") {
  isolated([] {
    auto socket = netlink::Socket::open(NETLINK_NETFILTER);
    REQUIRE(socket.has_value());
    nft::Batch batch(nft::Family::kIpv4, "test");
    batch.add_table();
    batch.add_chain("good");
    batch.delete_chain("missing");
    Status status = batch.commit(*socket);
    REQUIRE(!status.has_value());
    CHECK(status.error().code == Code::kNotFound);
    CHECK(status.error().message.find("deleting chain \"missing\"") != std::string::npos);
    auto exists = nft::table_exists(*socket, nft::Family::kIpv4, "test");
    REQUIRE(exists.has_value());
    CHECK(!*exists);
    nft::Batch second(nft::Family::kIpv4, "test");
    second.add_table();
    CHECK(second.commit(*socket).has_value());
    CHECK(nft::table_exists(*socket, nft::Family::kIpv4, "test").value());
    nft::Batch nothing(nft::Family::kIpv4, "test");
    CHECK(nothing.commit(*socket).has_value());
  });
}

TEST_CASE("elements come back as they were put in") {
  isolated([] {
    auto socket = netlink::Socket::open(NETLINK_NETFILTER);
    REQUIRE(socket.has_value());
    nft::Set set;
    set.name = "numbers";
    set.key_length = 4;
    set.data = nft::Set::Data::kValue;
    set.data_length = 4;
    nft::Batch batch(nft::Family::kIpv4, "test");
    batch.add_table();
    batch.add_set(set);
    for (char i = 0; i < 100; ++i)
      batch.add_element("numbers", std::string{i, 0, 0, 0}, {std::string{0, 0, 0, i}, std::nullopt});
    REQUIRE(batch.commit(*socket).has_value());
    int seen = 0;
    REQUIRE(nft::each_element(*socket, nft::Family::kIpv4, "test", "numbers",
                              [&](std::string_view key, std::string_view value) {
                                CHECK(key[0] == value[3]);
                                ++seen;
                              })
                .has_value());
    CHECK(seen == 100);
    CHECK(!nft::each_element(*socket, nft::Family::kIpv4, "test", "other", [](auto, auto) {}).has_value());
  });
}

TEST_CASE("links: made, found, deleted; errors carry the name") {
  isolated([] {
    auto socket = netlink::Socket::open(NETLINK_ROUTE);
    REQUIRE(socket.has_value());
    netlink::Messages create;
    netlink::add_bridge(create, {"br-test", std::string("\x0a\x58\x01\x02\x03\x04", 6), 1400});
    netlink::add_bridge(create, {"br-test", std::string("\x0a\x58\x01\x02\x03\x04", 6), 1400});
    REQUIRE(socket->transact(create).has_value());
    auto link = netlink::find_link(*socket, "br-test");
    REQUIRE(link.has_value());
    REQUIRE(link->has_value());
    CHECK((*link)->kind == "bridge");
    CHECK((*link)->mtu == 1400);
    CHECK(!(*link)->up);
    CHECK(!netlink::find_link(*socket, "none")->has_value());
    netlink::Messages broken;
    netlink::set_link(broken, "none", true);
    Status status = socket->transact(broken);
    REQUIRE(!status.has_value());
    CHECK(status.error().message.find("setting up link none") != std::string::npos);
    netlink::Messages remove;
    netlink::delete_link(remove, "br-test", false);
    netlink::delete_link(remove, "br-test", true);
    CHECK(socket->transact(remove).has_value());
  });
}

TEST_CASE("chains that hook in, rules with comments, and generations are read back") {
  isolated([] {
    auto socket = netlink::Socket::open(NETLINK_NETFILTER);
    REQUIRE(socket.has_value());
    const auto before = nft::generation(*socket);
    REQUIRE(before.has_value());
    nft::Batch batch(nft::Family::kInet, "t");
    batch.add_table();
    using nft::Hook;
    batch.add_chain("plain");
    batch.add_chain("strict", Hook{Hook::Type::kFilter, Hook::Point::kForward, -7, true});
    batch.add_chain("lax", Hook{Hook::Type::kRoute, Hook::Point::kOutput, 3});
    batch.add_rule("strict", nft::Rule().counter());
    batch.insert_rule("strict", nft::Rule().counter().verdict({}), "said why");
    REQUIRE(batch.commit(*socket).has_value());
    CHECK(*nft::generation(*socket) != *before);
    CHECK(*nft::generation(*socket) == *nft::generation(*socket));

    CHECK(nft::base_chains(*socket, nft::Family::kIpv4)->empty());
    const auto chains = nft::base_chains(*socket, nft::Family::kInet);
    REQUIRE(chains.has_value());
    REQUIRE(chains->size() == 2);
    CHECK((*chains)[0].table == "t");
    CHECK((*chains)[0].name == "strict");
    CHECK((*chains)[0].hook == Hook{Hook::Type::kFilter, Hook::Point::kForward, -7, true});
    CHECK((*chains)[1].hook == Hook{Hook::Type::kRoute, Hook::Point::kOutput, 3});

    auto rules = nft::list_rules(*socket, nft::Family::kInet, "t", "strict");
    REQUIRE(rules.has_value());
    REQUIRE(rules->size() == 2);
    CHECK((*rules)[0].comment == "said why");
    CHECK((*rules)[1].comment.empty());
    nft::Batch removal(nft::Family::kInet, "t");
    removal.delete_rule("strict", (*rules)[0].handle);
    REQUIRE(removal.commit(*socket).has_value());
    rules = nft::list_rules(*socket, nft::Family::kInet, "t", "strict");
    REQUIRE(rules->size() == 1);
    CHECK((*rules)[0].comment.empty());
  });
}
