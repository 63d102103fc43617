// Endpoint slices, ingresses, network policies.
#include <algorithm>
#include <set>

#include "api/validation/kinds.h"
#include "api/validation/pod.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

const Path kSpec("spec");

void check_slice_address(Errors& errors, const Path& path, std::string_view type, std::string_view address) {
  if (type == "FQDN") {
    check_format(errors, path, address, dns1123_subdomain);
    return;
  }
  const auto bytes = parse_address(address);
  if (type == "IPv4" && (!bytes || bytes->size() != 4)) {
    errors.invalid(path, address, "must be a valid IPv4 address");
  } else if (type == "IPv6" && (!bytes || bytes->size() != 16)) {
    errors.invalid(path, address, "must be a valid IPv6 address");
  } else {
    check_endpoint_ip(errors, path, address);
  }
}

void check_backend(Errors& errors, const Path& path, const Json& backend) {
  const Json& service = at(backend, "service");
  const Json& resource = at(backend, "resource");
  if (service.is_object() && resource.is_object()) {
    return errors.invalid(path, "", "cannot set both resource and service backends");
  }
  if (resource.is_object()) {
    for (const char* key : {"kind", "name"}) {
      if (str(resource, key).empty()) errors.required(path / "resource" / key);
    }
    return;
  }
  if (!service.is_object()) {
    return errors.required(path, "must specify either a resource backend or a service backend with a name and port");
  }
  const Path here = path / "service";
  if (const auto name = str(service, "name"); name.empty()) {
    errors.required(here / "name");
  } else {
    check_format(errors, here / "name", name, dns1123_label);
  }
  const auto name = str(at(service, "port"), "name");
  const auto number = num(at(service, "port"), "number");
  if (!name.empty() && number != 0) {
    errors.invalid(here, "", "cannot set both port name & port number");
  } else if (!name.empty()) {
    check_format(errors, here / "port" / "name", name, port_name);
  } else if (number != 0) {
    for (const auto& fault : port_number(number)) errors.invalid(here / "port" / "number", number, fault);
  } else {
    errors.required(here, "port name or number is required");
  }
}

void check_http_path(Errors& errors, const Path& path, const Json& item) {
  const auto type = str(item, "pathType");
  const auto text = str(item, "path");
  if (!has(item, "pathType")) return errors.required(path / "pathType", "pathType must be specified");
  if (type == "Exact" || type == "Prefix") {
    if (!text.starts_with('/')) {
      errors.invalid(path / "path", text, "must be an absolute path");
    } else {
      for (const char* bad : {"//", "/./", "/../", "%2f", "%2F"}) {
        if (text.find(bad) != std::string_view::npos) {
          errors.invalid(path / "path", text, "must not contain '" + std::string(bad) + "'");
        }
      }
      for (const char* bad : {"/..", "/."}) {
        if (text.ends_with(bad)) errors.invalid(path / "path", text, "cannot end with '" + std::string(bad) + "'");
      }
    }
  } else if (type == "ImplementationSpecific") {
    if (!text.empty() && !text.starts_with('/')) errors.invalid(path / "path", text, "must be an absolute path");
  } else {
    errors.not_supported(path / "pathType", type, {"Exact", "ImplementationSpecific", "Prefix"});
  }
  check_backend(errors, path / "backend", at(item, "backend"));
}

void check_host(Errors& errors, const Path& path, std::string_view host) {
  if (host.empty()) return;
  if (parse_address(host)) return errors.invalid(path, host, "must be a DNS name, not an IP address");
  check_format(errors, path, host, host.find('*') != std::string_view::npos ? wildcard_subdomain : dns1123_subdomain);
}

void check_peers(Errors& errors, const Path& path, const Json& list) {
  std::size_t i = 0;
  for (const Json& peer : items(list)) {
    const Path here = path[i++];
    int kinds = 0;
    for (const char* key : {"podSelector", "namespaceSelector"}) {
      if (!at(peer, key).is_object()) continue;
      ++kinds;
      check_label_selector(errors, here / key, at(peer, key));
    }
    if (const Json& block = at(peer, "ipBlock"); block.is_object()) {
      if (kinds > 0) errors.forbidden(here, "may not specify both ipBlock and another peer");
      ++kinds;
      const Path where = here / "ipBlock";
      if (str(block, "cidr").empty()) {
        errors.required(where / "cidr");
      } else {
        check_cidr(errors, where / "cidr", str(block, "cidr"));
      }
      std::size_t e = 0;
      for (const Json& except : items(at(block, "except"))) check_cidr(errors, (where / "except")[e++], str(except));
    }
    if (kinds == 0) errors.required(here, "must specify a peer");
  }
}

void check_policy_ports(Errors& errors, const Path& path, const Json& list) {
  std::size_t i = 0;
  for (const Json& port : items(list)) {
    const Path here = path[i++];
    if (const auto protocol = str(port, "protocol"); !protocol.empty()) {
      check_enum(errors, here / "protocol", protocol, {"SCTP", "TCP", "UDP"});
    }
    const Json& number = at(port, "port");
    const Json& last = at(port, "endPort");
    if (!number.is_null()) check_port_or_name(errors, here / "port", number);
    if (last.is_null()) continue;
    if (number.is_null()) {
      errors.required(here / "port", "must be specified when `endPort` is specified");
    } else if (number.is_string()) {
      errors.invalid(here / "endPort", last, "may not be specified when `port` is non-numeric");
    } else {
      if (last.get<std::int64_t>() < number.get<std::int64_t>()) {
        errors.invalid(here / "endPort", last, "must be greater than or equal to `port`");
      }
      for (const auto& fault : port_number(last.get<std::int64_t>())) errors.invalid(here / "endPort", last, fault);
    }
  }
}

}  // namespace

void create_endpoint_slice(Errors& errors, const Json& object) {
  constexpr std::size_t kMostEndpoints = 1000, kMostPorts = 20000, kMostAddresses = 100;
  const auto type = str(object, "addressType");
  if (type.empty()) {
    errors.required(Path("addressType"));
  } else {
    check_enum(errors, Path("addressType"), type, {"FQDN", "IPv4", "IPv6"});
  }
  const auto& endpoints = items(at(object, "endpoints"));
  if (endpoints.size() > kMostEndpoints) errors.too_many(Path("endpoints"), endpoints.size(), kMostEndpoints);
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    const Path here = Path("endpoints")[i];
    const auto& addresses = items(at(endpoints[i], "addresses"));
    if (addresses.empty()) errors.required(here / "addresses", "must contain at least 1 address");
    if (addresses.size() > kMostAddresses) errors.too_many(here / "addresses", addresses.size(), kMostAddresses);
    for (std::size_t a = 0; a < addresses.size(); ++a) {
      check_slice_address(errors, (here / "addresses")[a], type, str(addresses[a]));
    }
    if (has(endpoints[i], "nodeName")) {
      check_format(errors, here / "nodeName", str(endpoints[i], "nodeName"), dns1123_subdomain);
    }
    if (has(endpoints[i], "hostname")) {
      check_format(errors, here / "hostname", str(endpoints[i], "hostname"), dns1123_label);
    }
  }
  const auto& ports = items(at(object, "ports"));
  if (ports.size() > kMostPorts) errors.too_many(Path("ports"), ports.size(), kMostPorts);
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const Path here = Path("ports")[i];
    const auto name = str(ports[i], "name");
    if (!name.empty()) check_format(errors, here / "name", name, dns1123_label);
    if (!names.insert(name).second) errors.duplicate(here / "name", name);
    if (const auto protocol = str(ports[i], "protocol"); protocol.empty()) {
      errors.required(here / "protocol");
    } else {
      check_enum(errors, here / "protocol", protocol, {"SCTP", "TCP", "UDP"});
    }
    if (has(ports[i], "appProtocol")) {
      check_format(errors, here / "appProtocol", str(ports[i], "appProtocol"), qualified_name);
    }
  }
}
void update_endpoint_slice(Errors& errors, const Json& object, const Json& old) {
  create_endpoint_slice(errors, object);
  check_immutable(errors, Path("addressType"), at(object, "addressType"), at(old, "addressType"));
}

void create_ingress(Errors& errors, const Json& object) {
  const Json& spec = at(object, "spec");
  if (blank(at(spec, "rules")) && !has(spec, "defaultBackend")) {
    errors.invalid(kSpec, spec, "either `defaultBackend` or `rules` must be specified");
  }
  if (has(spec, "defaultBackend")) check_backend(errors, kSpec / "defaultBackend", at(spec, "defaultBackend"));
  std::size_t i = 0;
  for (const Json& rule : items(at(spec, "rules"))) {
    const Path here = (kSpec / "rules")[i++];
    check_host(errors, here / "host", str(rule, "host"));
    if (!has(rule, "http")) continue;
    const auto& paths = items(at(rule, "http", "paths"));
    if (paths.empty()) errors.required(here / "http" / "paths");
    for (std::size_t p = 0; p < paths.size(); ++p) check_http_path(errors, (here / "http" / "paths")[p], paths[p]);
  }
  i = 0;
  for (const Json& tls : items(at(spec, "tls"))) {
    const Path here = (kSpec / "tls")[i++];
    const auto& hosts = items(at(tls, "hosts"));
    for (std::size_t h = 0; h < hosts.size(); ++h) check_host(errors, (here / "hosts")[h], str(hosts[h]));
    if (const auto name = str(tls, "secretName"); !name.empty()) {
      check_format(errors, here / "secretName", name, dns1123_subdomain);
    }
  }
  if (has(spec, "ingressClassName")) {
    check_format(errors, kSpec / "ingressClassName", str(spec, "ingressClassName"), dns1123_subdomain);
  }
}

void create_ingress_class(Errors& errors, const Json& object) {
  const auto controller = str(at(object, "spec"), "controller");
  const Path path = kSpec / "controller";
  if (controller.size() > 250) errors.too_long(path, 250);
  const auto slash = controller.find('/');
  if (controller.empty()) {
    errors.required(path);
  } else if (slash == std::string_view::npos || slash == 0 || slash + 1 == controller.size()) {
    errors.invalid(path, controller, "must be a domain-prefixed path (such as \"acme.io/foo\")");
  } else {
    check_format(errors, path, controller.substr(0, slash), dns1123_subdomain);
  }
}
void update_ingress_class(Errors& errors, const Json& object, const Json& old) {
  create_ingress_class(errors, object);
  check_immutable(errors, kSpec / "controller", at(object, "spec", "controller"), at(old, "spec", "controller"));
}

void create_ip_address(Errors& errors, const Json& object) {
  const Path path = kSpec / "parentRef";
  const Json& parent = at(object, "spec", "parentRef");
  if (!parent.is_object()) return errors.required(path, "");
  if (const auto group = str(parent, "group"); !group.empty()) {  // the core group is none
    check_format(errors, path / "group", group, dns1123_subdomain);
  }
  for (const char* key : {"resource", "name", "namespace"}) {
    const auto value = str(parent, key);
    if (!value.empty()) {
      check_format(errors, path / key, value, path_segment);
    } else if (key != std::string_view("namespace")) {
      errors.required(path / key, "");
    }
  }
}
void update_ip_address(Errors& errors, const Json& object, const Json& old) {
  check_immutable(errors, kSpec / "parentRef", at(object, "spec", "parentRef"), at(old, "spec", "parentRef"));
}

void create_service_cidr(Errors& errors, const Json& object) {
  const Path path = kSpec / "cidrs";
  const auto& cidrs = items(at(object, "spec", "cidrs"));
  if (cidrs.empty()) return errors.required(path, "at least one CIDR required");
  if (cidrs.size() > 2) return errors.invalid(path, at(object, "spec"), "may only hold up to 2 values");
  for (std::size_t i = 0; i < cidrs.size(); ++i) check_cidr(errors, path[i], str(cidrs[i]));
  if (cidrs.size() == 2 && is_ipv6(str(cidrs[0])) == is_ipv6(str(cidrs[1]))) {
    errors.invalid(path, at(object, "spec", "cidrs"),
                   "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64");
  }
}
void update_service_cidr(Errors& errors, const Json& object, const Json& old) {
  constexpr const char* kFixed = "field is immutable";
  const Path path = kSpec / "cidrs";
  const auto& now = items(at(object, "spec", "cidrs"));
  const auto& before = items(at(old, "spec", "cidrs"));
  const bool second = before.size() == 1 && now.size() == 2;  // the other family's may be added
  if (now.size() != before.size() && !second) return errors.invalid(path, at(object, "spec", "cidrs"), kFixed);
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (now[i] != before[i]) errors.invalid(path[i], now[i], kFixed);
  }
  if (second) create_service_cidr(errors, object);
}

void create_network_policy(Errors& errors, const Json& object) {
  const Json& spec = at(object, "spec");
  check_label_selector(errors, kSpec / "podSelector", at(spec, "podSelector"));
  struct Side {
    const char* list;
    const char* peers;
  };
  for (const Side side : {Side{"ingress", "from"}, Side{"egress", "to"}}) {
    std::size_t i = 0;
    for (const Json& rule : items(at(spec, side.list))) {
      const Path here = (kSpec / side.list)[i++];
      check_policy_ports(errors, here / "ports", at(rule, "ports"));
      check_peers(errors, here / side.peers, at(rule, side.peers));
    }
  }
  const auto& types = items(at(spec, "policyTypes"));
  if (types.size() > 2) {
    return errors.invalid(kSpec / "policyTypes", at(spec, "policyTypes"), "may not specify more than two policyTypes");
  }
  for (std::size_t i = 0; i < types.size(); ++i) {
    check_enum(errors, (kSpec / "policyTypes")[i], str(types[i]), {"Egress", "Ingress"});
  }
}

}  // namespace brume::api::validation
