// A node in a namespace of its own: bridge, pods and services as brume sets them up.
#pragma once

#include <netinet/in.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "brume/network/pod_links.h"
#include "catch.h"
#include "netns.h"
#include "service_rules.h"

namespace brume::test {

inline net::IpAddress ip(const std::string& text) {
  auto address = net::IpAddress::parse(text);
  REQUIRE(address.has_value());
  return *address;
}

template <typename T>
auto ok(Result<T> result) {
  if (!result.has_value()) FAIL(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

/// A directory that goes away with the object.
class TempDir {
 public:
  TempDir() {
    std::string name = std::filesystem::temp_directory_path() / "brume-net-XXXXXX";
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~TempDir() { std::filesystem::remove_all(path); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string path;
};

struct Node {
  TempDir dir;
  network::PodLinksOptions options;
  std::unique_ptr<network::PodLinks> links;

  Node() {
    options.state_dir = dir.path + "/network";
    options.pod_cidr = *net::Cidr::parse("10.42.0.0/24");
    options.cluster_cidr = *net::Cidr::parse("10.42.0.0/16");
    options.service_cidrs = {*net::Cidr::parse("10.43.0.0/16")};
    start();
  }
  void start() { links = ok(network::PodLinks::start(options)); }
  std::string attach(const std::string& uid, const Netns& netns, std::vector<network::PodHostPort> ports = {}) {
    return ok(links->attach(uid, netns.path(), std::move(ports))).front().str();
  }
  [[nodiscard]] network::ServiceRulesOptions service_options() const {
    return {options.cluster_cidr, options.service_cidrs};
  }
};

/// A pod with an address and responders on port 80, TCP and UDP.
struct Pod {
  Netns netns;
  std::string address;
  std::unique_ptr<Responder> tcp, udp;

  Pod(Node& node, const std::string& name, std::vector<network::PodHostPort> ports = {})
      : address(node.attach(name, netns, std::move(ports))),
        tcp(std::make_unique<Responder>(&netns, name, Protocol::kTcp, 80)),
        udp(std::make_unique<Responder>(&netns, name, Protocol::kUdp, 80)) {}
  [[nodiscard]] network::ServiceEndpoint endpoint(bool local = true) const { return {ip(address), 80, local}; }
};

}  // namespace brume::test
