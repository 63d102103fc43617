// Services: cluster IPs, node ports, address families (IPv4 only).
#include <set>

#include "../errors.h"
#include "../service_allocator.h"
#include "../strategy.h"
#include "brume/api/validation.h"

namespace brume::apiserver::strategies {

namespace {

constexpr std::string_view kNone = "None";

bool needs_ip(const Json& spec) { return str(spec, "type") != "ExternalName"; }
bool headless(const Json& spec) { return str(spec, "clusterIP") == kNone; }
bool needs_node_ports(const Json& spec) {
  const auto type = str(spec, "type");
  return type == "NodePort" || (type == "LoadBalancer" && flag(spec, "allocateLoadBalancerNodePorts", true));
}
bool needs_health_port(const Json& spec) {
  return str(spec, "type") == "LoadBalancer" && str(spec, "externalTrafficPolicy") == "Local";
}

std::unexpected<Error> invalid(const Json& service, std::string field, const std::string& value, std::string_view why) {
  return fail(api::invalid_error(
      api::res("services"), str(at(service, "metadata"), "name"),
      {{"FieldValueInvalid", "Invalid value: " + value + ": " + std::string(why), std::move(field)}}));
}

std::set<int> node_ports(const Json& spec) {
  std::set<int> out;
  for (const Json& port : at(spec, "ports")) {
    if (const auto number = num(port, "nodePort"); number != 0) out.insert(static_cast<int>(number));
  }
  if (const auto number = num(spec, "healthCheckNodePort"); number != 0) out.insert(static_cast<int>(number));
  return out;
}

// One node port taken, given back if the write comes to nothing.
Result<int> take_port(const std::string& owner, int wanted, bool had, StrategyContext& context) {
  if (had) return wanted;
  BRUME_TRY(const int port, context.services->take_port(owner, wanted));
  context.abort.emplace_back([services = context.services, owner, port] { services->free_port(owner, port); });
  return port;
}

class ServiceStrategy final : public Strategy {
 public:
  ServiceStrategy() : Strategy({.create_on_update = true, .returns_deleted = true}) {}

  Status prepare_create(Json& object, StrategyContext& context) const override {
    object["status"] = Json{{"loadBalancer", Json::object()}};
    return settle(object, Json(), context);
  }

  Status prepare_update(Json& object, const Json& old, StrategyContext& context) const override {
    inherit(object["spec"], at(old, "spec"));
    drop_unneeded(object["spec"], at(old, "spec"));
    BRUME_CHECK(settle(object, old, context));
    // What is no longer used is free once the write is done.
    const std::string owner(str(at(old, "metadata"), "uid"));
    const auto now = node_ports(at(object, "spec"));
    for (const int port : node_ports(at(old, "spec"))) {
      if (now.contains(port)) continue;
      context.commit.emplace_back([services = context.services, owner, port] { services->free_port(owner, port); });
    }
    const Json& ips = at(object, "spec", "clusterIPs");
    for (const Json& ip : at(old, "spec", "clusterIPs")) {
      if (ips.is_array() && std::find(ips.begin(), ips.end(), ip) != ips.end()) continue;
      context.commit.emplace_back(
          [services = context.services, owner, text = std::string(str(ip))] { services->free_ip(owner, text); });
    }
    return {};
  }

  void prepare_removal(const Json& old, StrategyContext& context) const override {
    context.commit.emplace_back([services = context.services, old] { services->release(old); });
  }

 private:
  // Clients that send a Service back without what was allocated keep it.
  static void inherit(Json& spec, const Json& old) {
    if (needs_ip(spec) && needs_ip(old)) {
      if (str(spec, "clusterIP").empty() && old.contains("clusterIP")) spec["clusterIP"] = old["clusterIP"];
      if (at(spec, "clusterIPs").empty() && str(spec, "clusterIP") == str(old, "clusterIP") &&
          old.contains("clusterIPs")) {
        spec["clusterIPs"] = old["clusterIPs"];
      }
      // A client that knows only clusterIP changed it alone: the list follows.
      if (str(spec, "clusterIP") != str(old, "clusterIP") && at(spec, "clusterIPs").is_array() &&
          at(spec, "clusterIPs") == at(old, "clusterIPs")) {
        spec["clusterIPs"] = Json::array({str(spec, "clusterIP")});
      }
      for (const char* key : {"ipFamilies", "ipFamilyPolicy"}) {
        if (!spec.contains(key) && old.contains(key)) spec[key] = old[key];
      }
    }
    if (needs_node_ports(spec) && needs_node_ports(old) && at(spec, "ports").is_array()) {
      const auto used = node_ports(spec);
      for (Json& port : spec["ports"]) {
        if (num(port, "nodePort") != 0) continue;
        for (const Json& before : at(old, "ports")) {
          const auto number = num(before, "nodePort");
          if (number != 0 && num(before, "port") == num(port, "port") &&
              str(before, "protocol") == str(port, "protocol") && !used.contains(static_cast<int>(number))) {
            port["nodePort"] = number;
          }
        }
      }
    }
    if (needs_health_port(spec) && needs_health_port(old) && num(spec, "healthCheckNodePort") == 0 &&
        old.contains("healthCheckNodePort")) {
      spec["healthCheckNodePort"] = old["healthCheckNodePort"];
    }
  }

  // A type that has no use for an allocated value loses it, unless the client changed the value itself.
  static void drop_unneeded(Json& spec, const Json& old) {
    if (!needs_ip(spec) && needs_ip(old) && at(spec, "clusterIP") == at(old, "clusterIP")) {
      for (const char* key : {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"}) {
        spec.erase(key);
      }
    }
    if (!needs_node_ports(spec) && needs_node_ports(old) && at(spec, "ports").is_array()) {
      const auto before = node_ports(old);
      for (Json& port : spec["ports"]) {
        if (before.contains(static_cast<int>(num(port, "nodePort")))) port.erase("nodePort");
      }
    }
    if (!needs_node_ports(spec) && at(spec, "externalTrafficPolicy") == at(old, "externalTrafficPolicy")) {
      spec.erase("externalTrafficPolicy");
    }
    if (str(spec, "type") != "LoadBalancer" &&
        at(spec, "allocateLoadBalancerNodePorts") == at(old, "allocateLoadBalancerNodePorts")) {
      spec.erase("allocateLoadBalancerNodePorts");
    }
    if (!needs_health_port(spec) && needs_health_port(old)) spec.erase("healthCheckNodePort");
  }

  static Status settle(Json& object, const Json& old, StrategyContext& context) {
    Json& spec = object["spec"];
    const std::string owner(str(at(object, "metadata"), "uid"));
    if (needs_ip(spec)) {
      BRUME_CHECK(settle_families(object, spec));
      if (!headless(spec)) {
        BRUME_CHECK(settle_ip(object, spec, old, owner, context));
      } else {
        spec["clusterIPs"] = Json::array({kNone});
      }
    }
    return settle_ports(object, spec, old, owner, context);
  }

  static Status settle_families(const Json& object, Json& spec) {
    const auto policy = str(spec, "ipFamilyPolicy");
    const bool free_form = headless(spec) && at(spec, "selector").empty();
    if (free_form) {  // someone else fills in the endpoints, of whatever family
      if (policy.empty())
        spec["ipFamilyPolicy"] = at(spec, "ipFamilies").size() == 1 ? "SingleStack" : "RequireDualStack";
      if (at(spec, "ipFamilies").empty()) {
        spec["ipFamilies"] =
            str(spec, "ipFamilyPolicy") == "SingleStack" ? Json::array({"IPv4"}) : Json::array({"IPv4", "IPv6"});
      }
      return {};
    }
    if (policy == "RequireDualStack") {
      return invalid(object, "spec.ipFamilyPolicy", go_quote(policy),
                     "this cluster is not configured for dual-stack services");
    }
    std::size_t index = 0;
    for (const Json& family : at(spec, "ipFamilies")) {
      if (str(family) != "IPv4") {
        return invalid(object, "spec.ipFamilies[" + std::to_string(index) + "]", go_quote(str(family)),
                       "not configured on this cluster");
      }
      ++index;
    }
    if (policy.empty()) spec["ipFamilyPolicy"] = "SingleStack";
    spec["ipFamilies"] = Json::array({"IPv4"});
    return {};
  }

  static Status settle_ip(const Json& object, Json& spec, const Json& old, const std::string& owner,
                          StrategyContext& context) {
    std::string wanted(str(spec, "clusterIP"));
    if (wanted.empty() && !at(spec, "clusterIPs").empty()) {
      return invalid(object, "spec.clusterIPs", dump_json(at(spec, "clusterIPs")),
                     "must be empty when `clusterIP` is not specified");
    }
    const bool had = !wanted.empty() && str(at(old, "spec"), "clusterIP") == wanted;
    if (!had) {
      auto ip = context.services->take_ip(owner, wanted);
      if (!ip && ip.error().code == Code::kInvalid) {
        return invalid(object, "spec.clusterIPs", dump_json(Json::array({wanted})), ip.error().message);
      }
      if (!ip) return fail(std::move(ip).error());
      wanted = std::move(*ip);
      context.abort.emplace_back([services = context.services, owner, wanted] { services->free_ip(owner, wanted); });
    }
    spec["clusterIP"] = wanted;
    if (at(spec, "clusterIPs").empty()) spec["clusterIPs"] = Json::array({wanted});
    return {};
  }

  static Status settle_ports(const Json& object, Json& spec, const Json& old, const std::string& owner,
                             StrategyContext& context) {
    const std::set<int> before = node_ports(at(old, "spec"));
    if (at(spec, "ports").is_array()) {
      const bool wants_all = needs_node_ports(spec);
      std::size_t index = 0;
      for (Json& port : spec["ports"]) {
        const std::string field = "spec.ports[" + std::to_string(index++) + "].nodePort";
        int wanted = static_cast<int>(num(port, "nodePort"));
        if (wanted == 0 && !wants_all) continue;
        // TCP and UDP of one port number share the node port.
        for (const Json& other : spec["ports"]) {
          if (wanted == 0 && num(other, "port") == num(port, "port") &&
              str(other, "protocol") != str(port, "protocol")) {
            wanted = static_cast<int>(num(other, "nodePort"));
          }
        }
        auto taken = take_port(owner, wanted, before.contains(wanted), context);
        if (!taken && taken.error().code == Code::kInvalid) {
          return invalid(object, field, std::to_string(wanted), taken.error().message);
        }
        if (!taken) return fail(std::move(taken).error());
        port["nodePort"] = *taken;
      }
    }
    if (!needs_health_port(spec)) return {};
    const int wanted = static_cast<int>(num(spec, "healthCheckNodePort"));
    auto taken = take_port(owner, wanted, before.contains(wanted), context);
    if (!taken) {
      return invalid(object, "spec.healthCheckNodePort", std::to_string(wanted), taken.error().message);
    }
    spec["healthCheckNodePort"] = *taken;
    return {};
  }
};

}  // namespace

const Strategy* service_kind(std::string_view group_resource) {
  static const ServiceStrategy services;
  return group_resource == "services" ? &services : nullptr;
}

}  // namespace brume::apiserver::strategies
