#include "brume/network/pod_links.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <unistd.h>

#include <filesystem>
#include <mutex>
#include <string_view>

#include "address_pool.h"
#include "brume/base/log.h"
#include "brume/linux/conntrack.h"
#include "brume/linux/link.h"
#include "node_firewalls.h"
#include "pod_rules.h"
#include "rule_table.h"

namespace brume::network {
namespace {

using netlink::Messages;
using netlink::Socket;

constexpr std::string_view kPodInterface = "eth0";
constexpr std::string_view kHostPrefix = "brm";  // names of the host's veth ends; 15 characters are all there is
constexpr std::uint8_t kHostPrefix4 = 32;

class OwnedFd {
 public:
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  ~OwnedFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

/// The host end's name: the same for a uid at every start. FNV-1a, 48 bits of it.
std::string link_name(const std::string& uid) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (unsigned char c : uid) hash = (hash ^ c) * 0x100000001b3ULL;
  constexpr char kDigits[] = "0123456789abcdef";
  std::string name(kHostPrefix);
  for (int shift = 44; shift >= 0; shift -= 4) name += kDigits[(hash >> shift) & 0xf];
  return name;
}

/// A locally administered address made of the IP address, so that neighbour entries can be written down beforehand.
std::string mac_of(const net::IpAddress& address) {
  std::string_view octets = address.octets();
  return std::string("\x0a\x58", 2) + std::string(octets.substr(octets.size() - 4));
}

Status write_sysctl(const std::string& name, std::string_view value) {
  std::string path = "/proc/sys/net/" + name;
  OwnedFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0 || ::write(file.get(), value.data(), value.size()) < 0)
    return fail_errno(errno, "setting " + path);
  return {};
}

const FamilyTraits& traits_of(const net::Cidr& block) { return block.address.is_v6() ? kIpv6 : kIpv4; }

class KernelPodLinks final : public PodLinks {
 public:
  KernelPodLinks(PodLinksOptions options, AddressPool pool, Socket routes, Socket filter)
      : options_(std::move(options)),
        pool_(std::move(pool)),
        routes_(std::move(routes)),
        filter_(std::move(filter)),
        rules_(traits_of(options_.pod_cidr).family, kPodTable),
        firewalls_(traits_of(options_.pod_cidr).family, options_.bridge, options_.api_port) {}

  Status prepare();
  Result<std::vector<net::IpAddress>> attach(const std::string& uid, const std::string& netns_path,
                                             std::vector<PodHostPort> host_ports) override;
  Status detach(const std::string& uid) override;
  std::set<std::string> attached() const override;
  Status pass_firewalls() override {
    std::lock_guard lock(mutex_);
    return firewalls_.pass(filter_);
  }
  net::IpAddress gateway() const override { return pool_.gateway(); }

 private:
  Status prepare_bridge();
  Status connect(const std::string& host_end, int netns, const net::IpAddress& address);
  Status configure_host_end(const std::string& host_end, const net::IpAddress& address);
  Status configure_pod_end(Socket& pod, int index, const net::IpAddress& address);
  Status update_rules(const std::string& uid, std::optional<Fragment> fragment);
  void forget_flows(const Lease& lease, bool detach);

  const PodLinksOptions options_;
  mutable std::mutex mutex_;  // guards all below
  AddressPool pool_;
  Socket routes_;
  Socket filter_;
  RuleTable rules_;
  NodeFirewalls firewalls_;
  int bridge_index_ = 0;
};

Status KernelPodLinks::prepare_bridge() {
  net::IpAddress gateway = pool_.gateway();
  Messages create;
  netlink::add_bridge(create, {options_.bridge, mac_of(gateway), options_.mtu});
  netlink::set_link(create, options_.bridge, true, true);
  BRUME_CHECK(routes_.transact(create));
  BRUME_TRY(auto bridge, netlink::find_link(routes_, options_.bridge));
  if (!bridge.has_value() || bridge->kind != "bridge") {
    return fail(Code::kAlreadyExists, "there is a link " + options_.bridge + " that is no bridge; remove it");
  }
  bridge_index_ = bridge->index;
  Messages setup;
  if (bridge->mtu != options_.mtu) netlink::set_mtu(setup, options_.bridge, options_.mtu);
  netlink::add_address(setup, bridge_index_, gateway, options_.pod_cidr.prefix);
  for (const auto& block : options_.service_cidrs) {
    if (block.address.family() != gateway.family()) continue;
    // The node's own connections to a service need a route to start with; rules then send them to an endpoint. Without
    // a rule the packet is refused, and without any rules at all nobody on the bridge answers for the address.
    netlink::Route route;
    route.to = block;
    route.link_index = bridge_index_;
    route.source = gateway;
    netlink::set_route(setup, route);
  }
  return routes_.transact(setup);
}

Status KernelPodLinks::prepare() {
  BRUME_CHECK(prepare_bridge());
  bool v4 = options_.pod_cidr.address.is_v4();
  BRUME_CHECK(write_sysctl(v4 ? "ipv4/ip_forward" : "ipv6/conf/all/forwarding", "1"));
  if (v4) {
    // What the node routes between pods goes out where it came in. Telling the pods of a shorter way would lead them
    // past the rules. A link redirects if either its own switch or "all" is on: other links keep their own.
    BRUME_CHECK(write_sysctl("ipv4/conf/" + options_.bridge + "/send_redirects", "0"));
    BRUME_CHECK(write_sysctl("ipv4/conf/all/send_redirects", "0"));
    // Host ports on 127.0.0.1. What comes for loopback from outside is dropped before (CVE-2020-8558).
    BRUME_CHECK(write_sysctl("ipv4/conf/" + options_.bridge + "/route_localnet", "1"));
  }
  std::map<std::string, Fragment> fragments;
  fragments["base"] = pod_base_rules(traits_of(options_.pod_cidr), options_);
  for (const auto& [uid, lease] : pool_.leases()) fragments["pod/" + uid] = pod_rules(lease);
  return rules_.replace(filter_, std::move(fragments));
}

Result<std::vector<net::IpAddress>> KernelPodLinks::attach(const std::string& uid, const std::string& netns_path,
                                                           std::vector<PodHostPort> host_ports) {
  OwnedFd netns(::open(netns_path.c_str(), O_RDONLY | O_CLOEXEC));
  if (netns.get() < 0) return fail_errno(errno, "opening the pod's network namespace " + netns_path);
  std::lock_guard lock(mutex_);
  bool known = pool_.find(uid) != nullptr;
  BRUME_TRY(Lease lease, pool_.claim(uid, std::move(host_ports)));
  Status connected = connect(link_name(uid), netns.get(), lease.address);
  if (connected.has_value()) connected = update_rules(uid, pod_rules(lease));
  if (!connected.has_value()) {
    if (!known) {  // nothing half-made stays
      Messages undo;
      netlink::delete_link(undo, link_name(uid), true);
      (void)routes_.transact(undo);
      (void)pool_.release(uid);
    }
    return fail(wrap(connected.error(), "connecting pod " + uid));
  }
  forget_flows(lease, false);
  return std::vector{lease.address};
}

Status KernelPodLinks::connect(const std::string& host_end, int netns, const net::IpAddress& address) {
  BRUME_TRY(Socket pod, Socket::open_in(netns, NETLINK_ROUTE));
  BRUME_TRY(auto inside, netlink::find_link(pod, kPodInterface));
  BRUME_TRY(auto outside, netlink::find_link(routes_, host_end));
  bool ours = inside.has_value() && inside->mac == mac_of(address);
  if (inside.has_value() && !ours && !outside.has_value()) {
    return fail(Code::kAlreadyExists, "its network namespace has an eth0 of someone else");
  }
  if (!ours || !outside.has_value()) {
    Messages create;
    if (outside.has_value()) netlink::delete_link(create, host_end, true);  // its peer went with an earlier namespace
    if (ours) {
      Messages stale;
      netlink::delete_link(stale, kPodInterface, true);
      BRUME_CHECK(pod.transact(stale));
    }
    netlink::VethOptions veth;
    veth.name = host_end;
    veth.master = bridge_index_;
    veth.peer_name = kPodInterface;
    veth.peer_mac = mac_of(address);
    veth.peer_netns_fd = netns;
    veth.mtu = options_.mtu;
    netlink::add_veth(create, veth);
    BRUME_CHECK(routes_.transact(create));
    BRUME_TRY(inside, netlink::find_link(pod, kPodInterface));
    if (!inside.has_value()) return fail(Code::kInternal, "eth0 did not appear in its network namespace");
  }
  BRUME_CHECK(configure_host_end(host_end, address));
  BRUME_CHECK(configure_pod_end(pod, inside->index, address));
  BRUME_CHECK(netlink::await_operational(routes_, host_end));
  return netlink::await_operational(pod, kPodInterface);
}

Status KernelPodLinks::configure_host_end(const std::string& host_end, const net::IpAddress& address) {
  BRUME_TRY(auto link, netlink::find_link(routes_, host_end));
  if (!link.has_value()) return fail(Code::kInternal, "link " + host_end + " went away");
  Messages host;
  if (link->master != bridge_index_) netlink::set_master(host, host_end, bridge_index_);
  if (!link->up) netlink::set_link(host, host_end, true, true);
  // With br_netfilter's hooks on, the bridge itself sends a translated frame back to the pod that it came from.
  netlink::set_hairpin(host, link->index, true);
  netlink::set_neighbour(host, bridge_index_, address, mac_of(address));
  return routes_.transact(host);
}

Status KernelPodLinks::configure_pod_end(Socket& pod, int index, const net::IpAddress& address) {
  // A prefix of full length: a pod has no neighbours, so that all its packets pass the node's rules, those to pods
  // beside it too, and answers find their way back through the translation that the question went through.
  net::IpAddress gateway = pool_.gateway();
  bool v6 = address.is_v6();
  Messages setup;
  netlink::set_link(setup, "lo", true);
  netlink::set_link(setup, kPodInterface, true, !v6);
  netlink::add_address(setup, index, address, v6 ? 128 : kHostPrefix4);
  netlink::set_neighbour(setup, index, gateway, mac_of(gateway));
  netlink::Route out;
  // NOLINTNEXTLINE(bugprone-unchecked-optional-access): both are addresses
  out.to = net::Cidr{*net::IpAddress::parse(v6 ? "::" : "0.0.0.0"), 0};
  out.link_index = index;
  out.gateway = gateway;
  out.gateway_on_link = true;
  netlink::set_route(setup, out);
  return pod.transact(setup);
}

Status KernelPodLinks::update_rules(const std::string& uid, std::optional<Fragment> fragment) {
  std::string owner = "pod/" + uid;
  if (const Fragment* before = rules_.fragment(owner)) {
    if (fragment.has_value() && before->elements == fragment->elements) return {};
  } else if (!fragment.has_value()) {
    return {};
  }
  FragmentChanges changes;
  changes.emplace(std::move(owner), std::move(fragment));
  return rules_.apply(filter_, std::move(changes));
}

// A client that goes on sending keeps a UDP entry alive for ever: it would never reach the host port's next owner. On
// `detach` those that lead to the pod go; else those of its ports that lead elsewhere.
void KernelPodLinks::forget_flows(const Lease& lease, bool detach) {
  std::set<std::uint16_t> datagrams;
  for (const auto& port : lease.host_ports) {
    if (port.protocol == IPPROTO_UDP) datagrams.insert(port.host_port);
  }
  if (datagrams.empty()) return;
  auto deleted = netlink::delete_flows(filter_, lease.address.family(), [&](const netlink::Flow& flow) {
    if (flow.protocol != IPPROTO_UDP) return false;
    const bool here = flow.reply_source == lease.address;
    return detach ? here : !here && datagrams.contains(flow.destination_port);
  });
  if (!deleted.has_value()) log::warn("stale UDP flows may remain", {{"error", deleted.error().message}});
}

Status KernelPodLinks::detach(const std::string& uid) {
  std::lock_guard lock(mutex_);
  const Lease* held = pool_.find(uid);
  Messages unlink;
  netlink::delete_link(unlink, link_name(uid), true);
  if (held != nullptr) netlink::delete_neighbour(unlink, bridge_index_, held->address);
  BRUME_CHECK(routes_.transact(unlink));
  if (held == nullptr) return {};
  BRUME_CHECK(update_rules(uid, std::nullopt));
  forget_flows(*held, true);
  return pool_.release(uid);
}

std::set<std::string> KernelPodLinks::attached() const {
  std::lock_guard lock(mutex_);
  std::set<std::string> uids;
  for (const auto& [uid, lease] : pool_.leases()) uids.insert(uid);
  return uids;
}

}  // namespace

Result<std::unique_ptr<PodLinks>> PodLinks::start(PodLinksOptions options) {
  BRUME_TRY(AddressPool pool, AddressPool::open(options.state_dir + "/ips", options.pod_cidr));
  BRUME_TRY(Socket routes, Socket::open(NETLINK_ROUTE));
  BRUME_TRY(Socket filter, Socket::open(NETLINK_NETFILTER));
  auto links =
      std::make_unique<KernelPodLinks>(std::move(options), std::move(pool), std::move(routes), std::move(filter));
  BRUME_CHECK(links->prepare());
  if (auto passed = links->pass_firewalls(); !passed) {
    log::warn("a firewall of this node may drop what pods send", {{"error", passed.error().message}});
  }
  return links;
}

Status PodLinks::cleanup(const PodLinksOptions& options) {
  BRUME_TRY(Socket routes, Socket::open(NETLINK_ROUTE));
  BRUME_TRY(Socket filter, Socket::open(NETLINK_NETFILTER));
  Messages unlink;
  BRUME_TRY(AddressPool pool, AddressPool::open(options.state_dir + "/ips", options.pod_cidr));
  auto leases = pool.leases();
  for (const auto& [uid, lease] : leases) BRUME_CHECK(pool.release(uid));
  // By what is there, not by what was written down: the state directory may be gone already.
  BRUME_TRY(auto bridge, netlink::find_link(routes, options.bridge));
  BRUME_TRY(auto links, netlink::list_links(routes));
  for (const auto& link : links) {
    bool ours =
        bridge.has_value() && link.master == bridge->index && link.kind == "veth" && link.name.starts_with(kHostPrefix);
    if (ours) netlink::delete_link(unlink, link.name, true);
  }
  netlink::delete_link(unlink, options.bridge, true);  // its addresses, routes and neighbours go with it
  BRUME_CHECK(routes.transact(unlink));
  RuleTable rules(traits_of(options.pod_cidr).family, kPodTable);
  BRUME_CHECK(rules.remove(filter));
  BRUME_CHECK(NodeFirewalls::forget(filter, traits_of(options.pod_cidr).family));
  std::error_code ignored;
  std::filesystem::remove(options.state_dir + "/ips", ignored);
  std::filesystem::remove(options.state_dir, ignored);
  return {};
}

}  // namespace brume::network
