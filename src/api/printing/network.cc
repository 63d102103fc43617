#include <algorithm>
#include <array>
#include <set>

#include "api/printing/printer.h"
#include "brume/base/strings.h"

namespace brume::api::printing {

namespace {

constexpr std::array kServiceColumns = {kNameColumn,
                                        col("Type", "How the service is reached."),
                                        col("Cluster-IP", "Its address inside the cluster."),
                                        col("External-IP", "Its address outside."),
                                        col("Port(s)", "Its ports, and those on the nodes."),
                                        kAgeColumn,
                                        wide_col("Selector", "Which pods answer.")};
constexpr std::array kEndpointsColumns = {kNameColumn, col("Endpoints", "Addresses that answer."), kAgeColumn};
constexpr std::array kSliceColumns = {kNameColumn, col("AddressType", "IPv4, IPv6 or FQDN."),
                                      col("Ports", "Ports of all."), col("Endpoints", "Addresses that answer."),
                                      kAgeColumn};
constexpr std::array kIngressColumns = {kNameColumn,
                                        col("Class", "Which controller serves it."),
                                        col("Hosts", "Host names it answers to."),
                                        col("Address", "Where it listens."),
                                        col("Ports", "80, and 443 with TLS."),
                                        kAgeColumn};
constexpr std::array kIngressClassColumns = {kNameColumn, col("Controller", "Which controller serves it."),
                                             col("Parameters", "Where its settings are."), kAgeColumn};
constexpr std::array kPolicyColumns = {kNameColumn, col("Pod-Selector", "Which pods it holds for."), kAgeColumn};
constexpr std::array kCidrColumns = {kNameColumn, col("CIDRs", "Ranges of service addresses."), kAgeColumn};
constexpr std::array kAddressColumns = {kNameColumn, col("ParentRef", "Who uses the address.")};

// The first few of a list, and how many more there are.
std::string shortened(const std::vector<std::string>& list, std::size_t shown, std::string_view none) {
  std::string out = join(std::span(list).first(std::min(shown, list.size())), ",");
  if (list.size() > shown) out += " + " + std::to_string(list.size() - shown) + " more...";
  return or_else(out, none);
}

std::vector<std::string> load_balancer_addresses(const Json& object) {
  std::set<std::string> out;
  for (const Json& ingress : list_of(at(object, "status", "loadBalancer", "ingress"))) {
    if (auto address = or_else(str(ingress, "ip"), str(ingress, "hostname")); !address.empty()) {
      out.insert(std::move(address));
    }
  }
  return {out.begin(), out.end()};
}

std::string external_ip(const Json& service) {
  const Json& spec = at(service, "spec");
  const auto type = str(spec, "type");
  if (type == "ExternalName") return std::string(str(spec, "externalName"));
  if (type == "ClusterIP" || type == "NodePort") return or_else(joined(at(spec, "externalIPs")), "<none>");
  if (type != "LoadBalancer") return "<unknown>";
  auto addresses = load_balancer_addresses(service);
  for (const Json& address : list_of(at(spec, "externalIPs"))) addresses.emplace_back(str(address));
  return or_else(join(addresses, ","), "<pending>");
}

std::string service_ports(const Json& service) {
  std::string out;
  for (const Json& port : list_of(at(service, "spec", "ports"))) {
    if (!out.empty()) out += ',';
    out += std::to_string(num(port, "port"));
    if (const auto node_port = num(port, "nodePort"); node_port > 0) out += ":" + std::to_string(node_port);
    out += "/" + std::string(str(port, "protocol"));
  }
  return or_else(out, "<none>");
}

void service_row(Json& cells, const Json& object, WallTime now) {
  const Json& spec = at(object, "spec");
  const auto& ips = list_of(at(spec, "clusterIPs"));
  add_cells(cells, name_of(object), str(spec, "type"),
            or_else(ips.empty() ? std::string_view() : str(ips.front()), "<none>"), external_ip(object),
            service_ports(object), age_of(object, now), labels_text(at(spec, "selector")));
}

void endpoints_row(Json& cells, const Json& object, WallTime now) {
  std::vector<std::string> list;
  for (const Json& subset : list_of(at(object, "subsets"))) {
    const auto& addresses = list_of(at(subset, "addresses"));
    const auto& ports = list_of(at(subset, "ports"));
    for (const Json& address : addresses) {
      if (ports.empty()) list.emplace_back(str(address, "ip"));
    }
    for (const Json& port : ports) {
      for (const Json& address : addresses) {
        const std::string ip(str(address, "ip"));
        const bool v6 = ip.find(':') != std::string::npos;
        list.push_back((v6 ? "[" + ip + "]" : ip) + ":" + std::to_string(num(port, "port")));
      }
    }
  }
  add_cells(cells, name_of(object), shortened(list, 3, "<none>"), age_of(object, now));
}

void slice_row(Json& cells, const Json& object, WallTime now) {
  std::vector<std::string> ports, addresses;
  for (const Json& port : list_of(at(object, "ports"))) {
    ports.push_back(or_else(number_text(at(port, "port")), or_else(str(port, "name"), "*")));
  }
  for (const Json& endpoint : list_of(at(object, "endpoints"))) {
    for (const Json& address : list_of(at(endpoint, "addresses"))) addresses.emplace_back(str(address));
  }
  add_cells(cells, name_of(object), str(object, "addressType"), shortened(ports, 3, "<unset>"),
            shortened(addresses, 3, "<unset>"), age_of(object, now));
}

void ingress_row(Json& cells, const Json& object, WallTime now) {
  const Json& spec = at(object, "spec");
  std::vector<std::string> hosts;
  const auto& rules = list_of(at(spec, "rules"));
  for (const Json& rule : rules) {
    if (hosts.size() == 3) break;
    if (const auto host = str(rule, "host"); !host.empty()) hosts.emplace_back(host);
  }
  std::string text = or_else(join(hosts, ","), "*");
  if (hosts.size() == 3 && rules.size() > 3) text += " + " + std::to_string(rules.size() - 3) + " more...";
  add_cells(cells, name_of(object), or_else(str(spec, "ingressClassName"), "<none>"), text,
            join(load_balancer_addresses(object), ","), list_of(at(spec, "tls")).empty() ? "80" : "80, 443",
            age_of(object, now));
}

void ingress_class_row(Json& cells, const Json& object, WallTime now) {
  std::string name(name_of(object));
  if (str(at(object, "metadata", "annotations"), "ingressclass.kubernetes.io/is-default-class") == "true") {
    name += " (default)";
  }
  const Json& parameters = at(object, "spec", "parameters");
  std::string text = "<none>";
  if (parameters.is_object()) {
    text = str(parameters, "kind");
    if (const auto group = str(parameters, "apiGroup"); !group.empty()) text.append(".").append(group);
    text.append("/").append(str(parameters, "name"));
  }
  add_cells(cells, name, str(at(object, "spec"), "controller"), text, age_of(object, now));
}

void policy_row(Json& cells, const Json& object, WallTime now) {
  add_cells(cells, name_of(object), selector_text(at(object, "spec", "podSelector")), age_of(object, now));
}

void cidr_row(Json& cells, const Json& object, WallTime now) {
  add_cells(cells, name_of(object), joined(at(object, "spec", "cidrs")), age_of(object, now));
}

void address_row(Json& cells, const Json& object, WallTime /*now*/) {
  const Json& parent = at(object, "spec", "parentRef");
  std::string text = "<none>";
  if (parent.is_object()) {
    text = to_lower(str(parent, "resource"));
    if (const auto group = str(parent, "group"); !group.empty()) text += "." + to_lower(group);
    if (const auto ns = str(parent, "namespace"); !ns.empty()) text.append("/").append(ns);
    text.append("/").append(str(parent, "name"));
  }
  add_cells(cells, name_of(object), text);
}

constexpr std::array kPrinters = {
    Printer{"", "services", kServiceColumns, service_row},
    Printer{"", "endpoints", kEndpointsColumns, endpoints_row},
    Printer{"discovery.k8s.io", "endpointslices", kSliceColumns, slice_row},
    Printer{"networking.k8s.io", "ingresses", kIngressColumns, ingress_row},
    Printer{"networking.k8s.io", "ingressclasses", kIngressClassColumns, ingress_class_row},
    Printer{"networking.k8s.io", "networkpolicies", kPolicyColumns, policy_row},
    Printer{"networking.k8s.io", "servicecidrs", kCidrColumns, cidr_row},
    Printer{"networking.k8s.io", "ipaddresses", kAddressColumns, address_row},
};

}  // namespace

std::span<const Printer> network_printers() { return kPrinters; }

}  // namespace brume::api::printing
