#include "service_rules.h"

#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "brume/base/log.h"
#include "brume/linux/conntrack.h"

namespace brume::network {
namespace {

constexpr const char* kBase = "base";
std::string owner_of(const std::string& service) { return "service/" + service; }

bool has_endpoint(const ServicePort& service, const net::IpAddress& address, std::uint16_t port) {
  return std::any_of(service.endpoints.begin(), service.endpoints.end(),
                     [&](const auto& e) { return e.address == address && e.port == port; });
}

bool contains(const std::vector<net::IpAddress>& list, const net::IpAddress& address) {
  return std::find(list.begin(), list.end(), address) != list.end();
}

/// Whether the flow was addressed to this port of the service.
bool addressed_to(const netlink::Flow& flow, const ServicePort& service) {
  if (flow.protocol != service.protocol) return false;
  if (flow.destination_port == service.port &&
      (contains(service.cluster_ips, flow.destination) || contains(service.external_ips, flow.destination))) {
    return true;
  }
  // A node port: any address of the node, and translated (a local listener's own flows are not).
  return service.node_port != 0 && flow.destination_port == service.node_port && flow.reply_source != flow.destination;
}

bool lost_endpoint(const ServicePort& before, const ServicePort& after) {
  return std::any_of(before.endpoints.begin(), before.endpoints.end(),
                     [&](const auto& e) { return !has_endpoint(after, e.address, e.port); });
}

/// Clients that remember an endpoint that is gone get a new one at once: their rule ignores it, but only a deleted
/// entry can be filled anew.
Status forget_clients(netlink::Socket& socket, const RuleTable& table, const std::string& name,
                      const ServicePort& service) {
  std::string map = affinity_map_name(name);
  std::vector<std::string> stale;
  BRUME_CHECK(
      nft::each_element(socket, table.family(), table.name(), map, [&](std::string_view key, std::string_view value) {
        bool known = std::any_of(service.endpoints.begin(), service.endpoints.end(), [&](const auto& e) {
          return std::string(e.address.octets()) + port_key(e.port) == value;
        });
        if (!known) stale.emplace_back(key);
      }));
  for (const auto& key : stale) {
    nft::Batch batch(table.family(), table.name());  // one each: an entry may expire meanwhile, which is as good
    batch.delete_element(map, key);
    if (auto deleted = batch.commit(socket); !deleted.has_value() && deleted.error().code != Code::kNotFound)
      return deleted;
  }
  return {};
}

}  // namespace

Result<ServiceRules> ServiceRules::open(ServiceRulesOptions options) {
  BRUME_TRY(auto socket, netlink::Socket::open(NETLINK_NETFILTER));
  ServiceRules rules(std::move(socket));
  rules.options_ = std::move(options);
  return rules;
}

Status ServiceRules::start(ServicePorts services) {
  std::map<std::string, Fragment> fragments;
  fragments.emplace(kBase, service_base_rules(kIpv4, options_));
  for (const auto& [name, service] : services)
    fragments.emplace(owner_of(name), service_rules(kIpv4, options_, name, service));
  BRUME_CHECK(table_.replace(socket_, std::move(fragments)));
  services_ = std::move(services);
  forget_stale({}, services_);
  return {};
}

Status ServiceRules::apply(std::map<std::string, std::optional<ServicePort>> changes) {
  FragmentChanges fragments;
  ServicePorts before;
  ServicePorts changed;
  for (const auto& [name, service] : changes) {
    auto old = services_.find(name);
    if (old == services_.end() ? !service.has_value() : service.has_value() && *service == old->second) continue;
    if (old != services_.end()) before.emplace(name, old->second);
    auto& fragment = fragments[owner_of(name)];
    if (service.has_value()) {
      fragment = service_rules(kIpv4, options_, name, *service);
      changed.emplace(name, *service);
    } else {
      ServicePort gone = old->second;
      gone.endpoints.clear();
      changed.emplace(name, std::move(gone));
    }
  }
  if (fragments.empty()) return {};
  BRUME_CHECK(table_.apply(socket_, std::move(fragments)));
  for (auto& [name, service] : changes) {
    if (service.has_value()) {
      services_[name] = std::move(*service);
    } else {
      services_.erase(name);
    }
  }
  forget_stale(before, changed);
  return {};
}

/// `before` empty: everything may be stale. Failures only delay what a client would see in a while anyway.
void ServiceRules::forget_stale(const ServicePorts& before, const ServicePorts& changed) {
  std::vector<const ServicePort*> datagrams;
  for (const auto& [name, service] : changed) {
    auto old = before.find(name);
    bool lost = old == before.end() ? before.empty() : lost_endpoint(old->second, service);
    if (!lost) continue;
    // TCP clients notice by themselves; a UDP client that goes on sending would be sent to the old address for ever.
    if (service.protocol == IPPROTO_UDP) datagrams.push_back(&service);
    if (service.affinity.count() == 0 || service.endpoints.empty() || !services_.contains(name) || old == before.end())
      continue;
    if (auto done = forget_clients(socket_, table_, name, service); !done.has_value()) {
      log::warn("clients may stay without affinity", {{"service", name}, {"error", done.error().message}});
    }
  }
  if (datagrams.empty()) return;
  auto deleted = netlink::delete_flows(socket_, AF_INET, [&](const netlink::Flow& flow) {
    if (flow.protocol != IPPROTO_UDP) return false;
    return std::any_of(datagrams.begin(), datagrams.end(), [&](const ServicePort* service) {
      return addressed_to(flow, *service) && !has_endpoint(*service, flow.reply_source, flow.reply_source_port);
    });
  });
  if (!deleted.has_value()) log::warn("stale UDP flows may remain", {{"error", deleted.error().message}});
}

Status ServiceRules::cleanup() {
  BRUME_TRY(auto socket, netlink::Socket::open(NETLINK_NETFILTER));
  return RuleTable(nft::Family::kIpv4, "brume").remove(socket);
}

}  // namespace brume::network
