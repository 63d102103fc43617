#include "dns_zone.h"

#include <algorithm>
#include <utility>

#include "brume/base/random.h"
#include "brume/base/strings.h"

namespace brume::network::dns {
namespace {

constexpr std::uint32_t kTtl = 30;               // as kubeadm configures CoreDNS
constexpr const char* kSpecification = "1.1.0";  // of the Kubernetes DNS-based service discovery
constexpr const char* kDnsService = "kube-system/kube-dns";

bool is(std::uint16_t type, Type wanted) { return type == std::to_underlying(wanted); }

template <typename Map, typename Key>
void drop(Map& map, const Key& key, const std::string& value) {
  auto found = map.find(key);
  if (found == map.end()) return;
  found->second.erase(value);
  if (found->second.empty()) map.erase(found);
}

/// 10-42-0-7 or fd00--7 for an address, as names of pods and nameless endpoints have it.
std::string dashed(const net::IpAddress& address) {
  std::string text = address.str();
  std::replace(text.begin(), text.end(), address.is_v6() ? ':' : '.', '-');
  return text;
}

std::optional<net::IpAddress> undashed(std::string_view text) {
  std::string dotted(text);
  std::replace(dotted.begin(), dotted.end(), '-', '.');
  if (auto v4 = net::IpAddress::parse(dotted)) return v4;
  std::replace(dotted.begin(), dotted.end(), '.', ':');
  return net::IpAddress::parse(dotted);
}

/// The address of a name below in-addr.arpa or ip6.arpa (RFC 1035 section 3.5, RFC 3596 section 2.5).
std::optional<net::IpAddress> reverse_address(const std::vector<std::string_view>& labels) {
  std::size_t n = labels.size();
  if (n < 3 || labels[n - 1] != "arpa") return std::nullopt;
  std::string text;
  if (labels[n - 2] == "in-addr" && n == 6) {
    for (std::size_t i = 4; i-- > 0;) text += std::string(labels[i]) + (i > 0 ? "." : "");
    return net::IpAddress::parse(text);
  }
  if (labels[n - 2] != "ip6" || n != 34) return std::nullopt;
  for (std::size_t i = 32; i-- > 0;) {
    if (labels[i].size() != 1) return std::nullopt;
    text += labels[i];
    if (i % 4 == 0 && i > 0) text += ':';
  }
  return net::IpAddress::parse(text);
}

}  // namespace

ClusterZone::ClusterZone(std::string_view domain, std::uint32_t serial)
    : domain_(domain), zone_(Name::parse(to_lower(domain)).value_or(Name())), serial_(serial) {}

Name ClusterZone::below(std::string_view text) const {
  // Labels of API objects are DNS labels, so this holds; an answer with the zone itself beats an abort if not.
  return Name::parse(std::string(text) + "." + domain_).value_or(zone_);
}

void ClusterZone::set_service(ServiceView service) {
  std::string key = service.key();
  remove_service(key);
  for (const auto& ip : service.cluster_ips) services_by_ip_[ip].insert(key);
  services_[key] = std::move(service);
}

void ClusterZone::remove_service(const std::string& key) {
  ++serial_;
  auto old = services_.find(key);
  if (old == services_.end()) return;
  for (const auto& ip : old->second.cluster_ips) drop(services_by_ip_, ip, key);
  services_.erase(old);
}

void ClusterZone::set_slice(const std::string& key, SliceView slice) {
  remove_slice(key);
  if (slice.service.empty()) return;
  slices_of_service_[slice.service].insert(key);
  for (const auto& endpoint : slice.endpoints) {
    for (const auto& ip : endpoint.addresses) slices_by_ip_[ip].insert(key);
  }
  slices_[key] = std::move(slice);
}

void ClusterZone::remove_slice(const std::string& key) {
  ++serial_;
  auto old = slices_.find(key);
  if (old == slices_.end()) return;
  drop(slices_of_service_, old->second.service, key);
  for (const auto& endpoint : old->second.endpoints) {
    for (const auto& ip : endpoint.addresses) drop(slices_by_ip_, ip, key);
  }
  slices_.erase(old);
}

Record ClusterZone::soa() const { return Record::soa(zone_, kTtl, below("ns.dns"), below("hostmaster"), serial_); }

Answer ClusterZone::no_data() const { return {Rcode::kNoError, true, {}, {soa()}, {}}; }
Answer ClusterZone::no_such_name() const { return {Rcode::kNxDomain, true, {}, {soa()}, {}}; }

std::optional<Answer> ClusterZone::resolve(const Query& query) const {
  Name lower = query.name.lower();
  bool ours = lower.within(zone_);
  if (query.klass != kClassIn) return ours ? std::optional(Answer{Rcode::kRefused, false, {}, {}, {}}) : std::nullopt;
  if (!ours) return resolve_reverse(query, lower);
  Labels labels = lower.labels();
  labels.resize(labels.size() - zone_.labels().size());
  return resolve_in_zone(query, labels);
}

Answer ClusterZone::resolve_in_zone(const Query& query, const Labels& labels) const {
  std::size_t n = labels.size();
  if (n == 0) return apex(query);
  std::string_view kind = labels[n - 1];
  if (kind == "dns-version" && n == 1) {
    if (!is(query.type, Type::kTxt)) return no_data();
    return {Rcode::kNoError, true, {Record::txt(query.name, kTtl, kSpecification)}, {}, {}};
  }
  if (kind == "dns" && n == 1) return no_data();
  if (kind == "dns" && n == 2 && labels[0] == "ns") {
    auto service = services_.find(kDnsService);
    return address_answer(query,
                          service == services_.end() ? std::vector<net::IpAddress>() : service->second.cluster_ips);
  }
  if (kind != "svc" && kind != "pod") return no_such_name();
  if (n == 1) return no_data();
  std::string_view ns = labels[n - 2];
  if (n == 2) return namespaces_.contains(std::string(ns)) ? no_data() : no_such_name();
  if (kind == "pod") return n == 3 ? resolve_pod(query, ns, labels[0]) : no_such_name();
  std::string key = std::string(ns) + "/" + std::string(labels[n - 3]);
  if (n == 3) return resolve_service(query, key, {}, nullptr);
  if (n == 4) return resolve_service(query, key, labels[0], nullptr);
  if (n == 5 && labels[0].starts_with('_') && labels[1].starts_with('_')) {
    PortView wanted;
    wanted.name = labels[0].substr(1);
    wanted.protocol_name = labels[1].substr(1);
    return resolve_service(query, key, {}, &wanted);
  }
  return no_such_name();
}

Answer ClusterZone::apex(const Query& query) const {
  if (is(query.type, Type::kSoa)) return {Rcode::kNoError, true, {soa()}, {}, {}};
  if (!is(query.type, Type::kNs)) return no_data();
  Answer answer{Rcode::kNoError, true, {Record::pointer(Type::kNs, query.name, kTtl, below("ns.dns"))}, {}, {}};
  if (auto service = services_.find(kDnsService); service != services_.end()) {
    for (const auto& ip : service->second.cluster_ips)
      answer.additional.push_back(Record::address(below("ns.dns"), kTtl, ip));
  }
  return answer;
}

Answer ClusterZone::address_answer(const Query& query, const std::vector<net::IpAddress>& addresses) const {
  Answer answer{Rcode::kNoError, true, {}, {}, {}};
  for (const auto& address : addresses) {
    if (is(query.type, address.is_v6() ? Type::kAaaa : Type::kA))
      answer.answers.push_back(Record::address(query.name, kTtl, address));
  }
  if (answer.answers.empty()) return no_data();
  // Clients take the first one: everybody must not take the same.
  std::size_t first = random_u64() % answer.answers.size();
  std::rotate(answer.answers.begin(), answer.answers.begin() + static_cast<std::ptrdiff_t>(first),
              answer.answers.end());
  return answer;
}

std::vector<ClusterZone::Target> ClusterZone::targets_of(const std::string& key, std::string_view endpoint) const {
  std::vector<Target> targets;
  auto slices = slices_of_service_.find(key);
  if (slices == slices_of_service_.end()) return targets;
  for (const auto& slice_key : slices->second) {
    const SliceView& slice = slices_.at(slice_key);
    for (const auto& e : slice.endpoints) {
      if (!e.ready) continue;  // a Service that publishes those too has slices that call them ready
      for (const auto& ip : e.addresses) {
        std::string name = e.hostname.empty() ? dashed(ip) : e.hostname;
        if (endpoint.empty() || name == endpoint) targets.push_back({std::move(name), ip, &slice.ports});
      }
    }
  }
  return targets;
}

Answer ClusterZone::resolve_service(const Query& query, const std::string& key, std::string_view endpoint,
                                    const PortView* wanted) const {
  auto found = services_.find(key);
  if (found == services_.end()) return no_such_name();
  const ServiceView& service = found->second;
  if (!service.external_name.empty()) {
    auto target = Name::parse(service.external_name);
    if (!target || !endpoint.empty() || wanted != nullptr) return no_such_name();
    if (!is(query.type, Type::kA) && !is(query.type, Type::kAaaa) && !is(query.type, Type::kCname)) return no_data();
    return {Rcode::kNoError, true, {Record::pointer(Type::kCname, query.name, kTtl, *target)}, {}, {}};
  }
  bool by_endpoint = service.headless || !endpoint.empty();
  std::vector<Target> targets;
  if (by_endpoint) {
    targets = targets_of(key, endpoint);
    if (targets.empty()) return no_such_name();  // the specification wants NXDOMAIN where nobody is ready
  }
  if (wanted != nullptr) {
    const auto matches = [&](const PortView& p) {
      return p.name == wanted->name && p.protocol_name == wanted->protocol_name;
    };
    bool any = std::any_of(service.ports.begin(), service.ports.end(), matches);
    for (const auto& t : targets) any = any || std::any_of(t.ports->begin(), t.ports->end(), matches);
    if (!any) return no_such_name();
  }
  if (is(query.type, Type::kSrv)) return srv_answer(query, service, targets, wanted);
  if (!by_endpoint) return address_answer(query, service.cluster_ips);
  std::vector<net::IpAddress> addresses;
  for (const auto& target : targets) addresses.push_back(target.address);
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  return address_answer(query, addresses);
}

Answer ClusterZone::srv_answer(const Query& query, const ServiceView& service, const std::vector<Target>& targets,
                               const PortView* wanted) const {
  struct Item {
    Name target;
    std::uint16_t port;
    std::vector<net::IpAddress> addresses;
  };
  std::vector<Item> items;
  Name own = below(service.name + "." + service.ns + ".svc");
  auto add = [&](const Name& name, const PortView& port, const std::vector<net::IpAddress>& addresses) {
    if (wanted != nullptr && (port.name != wanted->name || port.protocol_name != wanted->protocol_name)) return;
    items.push_back({name, port.port, addresses});
  };
  if (targets.empty()) {
    for (const auto& port : service.ports) add(own, port, service.cluster_ips);
  }
  for (const auto& target : targets) {
    Name name = below(target.name + "." + service.name + "." + service.ns + ".svc");
    for (const auto& port : *target.ports) add(name, port, {target.address});
  }
  if (items.empty()) return no_data();
  Answer answer{Rcode::kNoError, true, {}, {}, {}};
  auto weight = static_cast<std::uint16_t>(std::max<std::size_t>(100 / items.size(), 1));
  std::set<Name> glued;
  for (const auto& item : items) {
    answer.answers.push_back(Record::srv(query.name, kTtl, 0, weight, item.port, item.target));
    if (!glued.insert(item.target).second) continue;
    for (const auto& ip : item.addresses) answer.additional.push_back(Record::address(item.target, kTtl, ip));
  }
  return answer;
}

Answer ClusterZone::resolve_pod(const Query& query, std::string_view ns, std::string_view dashed_ip) const {
  auto address = undashed(dashed_ip);
  if (!address || !namespaces_.contains(std::string(ns))) return no_such_name();
  return address_answer(query, {*address});
}

std::optional<Answer> ClusterZone::resolve_reverse(const Query& query, const Name& lower) const {
  auto address = reverse_address(lower.labels());
  if (!address) return std::nullopt;
  std::set<Name> names;
  if (auto services = services_by_ip_.find(*address); services != services_by_ip_.end()) {
    for (const auto& key : services->second) {
      const ServiceView& service = services_.at(key);
      names.insert(below(service.name + "." + service.ns + ".svc"));
    }
  } else if (auto slices = slices_by_ip_.find(*address); slices != slices_by_ip_.end()) {
    for (const auto& slice_key : slices->second) {
      const std::string& service = slices_.at(slice_key).service;
      std::string suffix = service.substr(service.find('/') + 1) + "." + service.substr(0, service.find('/')) + ".svc";
      for (const auto& target : targets_of(service, {})) {
        if (target.address == *address) names.insert(below(target.name + "." + suffix));
      }
    }
  }
  if (names.empty()) return std::nullopt;
  if (!is(query.type, Type::kPtr)) return no_data();
  Answer answer{Rcode::kNoError, true, {}, {}, {}};
  for (const auto& name : names) answer.answers.push_back(Record::pointer(Type::kPtr, query.name, kTtl, name));
  return answer;
}

}  // namespace brume::network::dns
