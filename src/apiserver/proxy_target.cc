#include "proxy_target.h"

#include <arpa/inet.h>

#include <array>
#include <cstdint>
#include <vector>

#include "brume/base/json.h"
#include "brume/base/random.h"
#include "brume/base/strings.h"
#include "errors.h"

namespace brume::apiserver {

namespace {

constexpr std::int64_t kMaxPort = 65'535;

// Loopback, link-local, multicast and unspecified addresses mean the machine of whoever dials, not the pod.
bool is_reachable(const std::string& address) {
  std::array<std::uint8_t, 16> octets{};
  if (::inet_pton(AF_INET, address.c_str(), octets.data()) == 1) {
    const bool link_local = octets[0] == 169 && octets[1] == 254;
    return octets[0] != 0 && octets[0] != 127 && octets[0] < 224 && !link_local;
  }
  if (::inet_pton(AF_INET6, address.c_str(), octets.data()) != 1) return false;
  const bool link_local = octets[0] == 0xfe && (octets[1] & 0xc0) == 0x80;
  const bool embeds = octets[0] == 0;  // unspecified, loopback, and IPv4 in IPv6's clothes
  return octets[0] != 0xff && !link_local && !embeds;
}

std::unexpected<Error> not_allowed() { return fail(Code::kBadRequest, "address not allowed"); }

Result<std::string> origin(std::string_view scheme, const std::string& address, std::string_view port) {
  std::string out = (scheme.empty() ? "http" : std::string(scheme)) + "://";
  out += address.find(':') == std::string::npos ? address : "[" + address + "]";
  if (port.empty()) return out;
  const auto number = parse_int(port);
  if (!number || *number < 1 || *number > kMaxPort) {
    return fail(Code::kBadRequest, "invalid port " + go_quote(port));
  }
  return out + ":" + std::to_string(*number);
}

std::string first_port(const Json& pod) {
  for (const Json& container : at(pod, "spec", "containers")) {
    const Json& ports = at(container, "ports");
    if (ports.is_array() && !ports.empty()) return std::to_string(num(ports[0], "containerPort"));
  }
  return {};
}

// The name of the Service's port of that number; a name is taken as it is.
Result<std::string> port_name(const ProxyName& asked, std::string_view ns, const ObjectSource& objects) {
  const auto number = parse_int(asked.port);
  if (!number) return asked.port;
  const api::ObjectPtr object = objects.find(api::res("services"), ns, asked.name);
  if (!object) return fail(not_found(api::res("services"), asked.name));
  const Json service = object->parse();
  for (const Json& port : at(service, "spec", "ports")) {
    if (num(port, "port") == *number) return std::string(str(port, "name"));
  }
  return fail(Code::kServiceUnavailable,
              "no service port " + asked.port + " found for service " + go_quote(asked.name));
}

// Endpoints that users wrote may name any address: only those that a pod has are dialled.
bool is_pod(const Json& address, std::string_view ns, const ObjectSource& objects) {
  const Json& target = at(address, "targetRef");
  if (str(target, "kind") != "Pod" || str(target, "namespace") != ns) return false;
  const api::ObjectPtr object = objects.find(api::res("pods"), ns, str(target, "name"));
  if (!object) return false;
  const Json pod = object->parse();
  for (const Json& entry : at(pod, "status", "podIPs")) {
    if (str(entry, "ip") == str(address, "ip")) return true;
  }
  return false;
}

struct Endpoint {
  std::string address;
  std::int64_t port = 0;
};

std::vector<Endpoint> endpoints_of(const Json& endpoints, std::string_view port, std::string_view ns,
                                   const ObjectSource& objects) {
  std::vector<Endpoint> out;
  for (const Json& subset : at(endpoints, "subsets")) {
    for (const Json& entry : at(subset, "ports")) {
      if (str(entry, "name") != port) continue;
      for (const Json& address : at(subset, "addresses")) {
        if (is_pod(address, ns, objects)) out.push_back({std::string(str(address, "ip")), num(entry, "port")});
      }
    }
  }
  return out;
}

}  // namespace

std::optional<ProxyName> ProxyName::parse(std::string_view text) {
  const auto parts = split(text, ':');
  ProxyName out;
  if (parts.size() == 1) {
    out.name = parts[0];
  } else if (parts.size() == 2) {
    out.name = parts[0];
    out.port = parts[1];
  } else if (parts.size() == 3) {
    out.scheme = parts[0];
    out.name = parts[1];
    out.port = parts[2];
  }
  const bool known = out.scheme.empty() || out.scheme == "http" || out.scheme == "https";
  if (out.name.empty() || !known) return std::nullopt;
  return out;
}

Result<ProxyTarget> pod_target(const ProxyName& asked, const Json& pod) {
  const std::string port = asked.port.empty() ? first_port(pod) : asked.port;
  const std::string address(str(at(pod, "status"), "podIP"));
  if (!is_reachable(address)) return not_allowed();
  BRUME_TRY(std::string url, origin(asked.scheme, address, port));
  return ProxyTarget{.origin = std::move(url)};
}

Result<ProxyTarget> service_target(const ProxyName& asked, std::string_view ns, const ObjectSource& objects) {
  BRUME_TRY(const std::string port, port_name(asked, ns, objects));
  const api::ObjectPtr object = objects.find(api::res("endpoints"), ns, asked.name);
  if (!object) return fail(not_found(api::res("endpoints"), asked.name));
  const Json parsed = object->parse();
  const auto endpoints = endpoints_of(parsed, port, ns, objects);
  if (endpoints.empty()) {
    return fail(Code::kServiceUnavailable, "no endpoints available for service " + go_quote(asked.name));
  }
  const Endpoint& chosen = endpoints[random_u64() % endpoints.size()];
  if (!is_reachable(chosen.address)) return not_allowed();
  BRUME_TRY(std::string url, origin(asked.scheme, chosen.address, std::to_string(chosen.port)));
  return ProxyTarget{.origin = std::move(url)};
}

Result<ProxyTarget> node_target(const ProxyName& asked, const Json& node) {
  const auto agent_port = num(at(node, "status", "daemonEndpoints", "kubeletEndpoint"), "Port");
  std::string address;
  for (const char* type : {"InternalIP", "ExternalIP"}) {
    for (const Json& entry : at(node, "status", "addresses")) {
      if (address.empty() && str(entry, "type") == type) address = str(entry, "address");
    }
  }
  if (address.empty()) {
    return fail(Code::kServiceUnavailable, "node " + asked.name + " has no address to reach it at");
  }
  if (asked.port.empty() || asked.port == std::to_string(agent_port)) {
    BRUME_TRY(std::string agent, origin("https", address, std::to_string(agent_port)));
    return ProxyTarget{.origin = std::move(agent), .is_agent = true};
  }
  if (!is_reachable(address)) return not_allowed();
  BRUME_TRY(std::string url, origin(asked.scheme, address, asked.port));
  return ProxyTarget{.origin = std::move(url)};
}

}  // namespace brume::apiserver
