// ConfigMaps, secrets, namespaces, nodes, endpoints: the smaller kinds of core/v1.
#include "api/validation/kinds.h"
#include "api/validation/pod.h"
#include "brume/base/strings.h"

#include <algorithm>
#include <set>

namespace brume::api::validation {

namespace {

constexpr std::size_t kMaxData = 1024 * 1024;  // of a ConfigMap or a Secret, all values together

// Bytes of base64 text once decoded.
std::size_t decoded_size(std::string_view text) {
  std::size_t size = text.size() / 4 * 3;
  while (!text.empty() && text.back() == '=' && size > 0) {
    text.remove_suffix(1);
    --size;
  }
  return size;
}

std::size_t check_data(Errors& errors, const Path& path, const Json& data, bool encoded) {
  std::size_t total = 0;
  if (!data.is_object()) return total;
  for (const auto& [key, value] : data.items()) {
    errors.invalid_each(path.key(key), key, config_key(key));
    total += encoded ? decoded_size(str(value)) : str(value).size();
  }
  return total;
}

void check_frozen(Errors& errors, const Json& object, const Json& old, std::initializer_list<const char*> members) {
  constexpr std::string_view kFrozen = "field is immutable when `immutable` is set";
  if (!flag(old, "immutable")) return;
  if (!flag(object, "immutable")) errors.forbidden(Path("immutable"), kFrozen);
  for (const char* key : members) {
    if (!same(at(object, key), at(old, key))) errors.forbidden(Path(key), kFrozen);
  }
}

void require_key(Errors& errors, const Json& data, std::string_view key) {
  if (!at(data, key).is_string()) errors.required(Path("data").key(key));
}

// What a secret of a known type must hold.
void check_secret_type(Errors& errors, const Json& secret) {
  const Path path("data");
  const Json& data = at(secret, "data");
  const auto type = str(secret, "type");
  if (type == "kubernetes.io/service-account-token") {
    constexpr std::string_view kName = "kubernetes.io/service-account.name";
    if (str(at(secret, "metadata", "annotations"), kName).empty()) {
      errors.required((Path("metadata") / "annotations").key(kName));
    }
  } else if (type == "kubernetes.io/dockercfg" || type == "kubernetes.io/dockerconfigjson") {
    const std::string_view key = type == "kubernetes.io/dockercfg" ? ".dockercfg" : ".dockerconfigjson";
    if (!at(data, key).is_string()) return errors.required(path.key(key));
    const auto bytes = base64_decode(str(data, key));
    const auto parsed = parse_json(bytes.value_or(""));
    if (!parsed) {
      errors.invalid(path.key(key), "<secret contents redacted>",
                     !bytes || bytes->empty() ? "unexpected end of JSON input" : parsed.error().message);
    } else if (!parsed->is_object() && !parsed->is_null()) {
      errors.invalid(path.key(key), "<secret contents redacted>", "must be a JSON object");
    }
  } else if (type == "kubernetes.io/basic-auth") {
    if (at(data, "username").is_string() || at(data, "password").is_string()) return;
    errors.required(path.key("username"));
    errors.required(path.key("password"));
  } else if (type == "kubernetes.io/ssh-auth") {
    if (str(data, "ssh-privatekey").empty()) errors.required(path.key("ssh-privatekey"));
  } else if (type == "kubernetes.io/tls") {
    require_key(errors, data, "tls.crt");
    require_key(errors, data, "tls.key");
  }
}

void check_taints(Errors& errors, const Path& path, const Json& list) {
  std::set<std::string> seen;
  std::size_t i = 0;
  for (const Json& taint : items(list)) {
    const Path here = path[i++];
    const auto key = str(taint, "key");
    const auto effect = str(taint, "effect");
    check_label_key(errors, here / "key", key);
    if (const auto faults = label_value(str(taint, "value")); !faults.empty()) {
      errors.invalid(here / "value", str(taint, "value"), join(faults, ";"));
    }
    if (effect.empty()) {
      errors.required(here / "effect");
    } else {
      check_taint_effect(errors, here / "effect", effect);
    }
    if (!seen.insert(std::string(key) + "/" + std::string(effect)).second) {
      errors.add("FieldValueDuplicate", "Duplicate value: " + shown(taint), here,
                 "taints must be unique by key and effect pair");
    }
  }
}

void check_node_status(Errors& errors, const Json& node) {
  for (const char* list : {"capacity", "allocatable"}) {
    const Json& amounts = at(at(node, "status"), list);
    if (!amounts.is_object()) continue;
    for (const auto& [name, amount] : amounts.items()) {
      check_resource_amount(errors, Path("status") / list / name, name, amount);
    }
  }
}

void check_pod_cidrs(Errors& errors, const Json& node) {
  const Path path = Path("spec") / "podCIDRs";
  const auto& list = items(at(node, "spec", "podCIDRs"));
  int v6 = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    check_cidr(errors, path[i], str(list[i]));
    v6 += is_ipv6(str(list[i])) ? 1 : 0;
  }
  if (list.size() > 2 || (list.size() == 2 && v6 != 1)) {
    errors.invalid(path, at(node, "spec", "podCIDRs"), "may specify no more than one CIDR for each IP family");
  }
}

void check_endpoint_address(Errors& errors, const Path& path, const Json& address) {
  check_ip(errors, path / "ip", str(address, "ip"));
  if (const auto name = str(address, "hostname"); !name.empty()) {
    check_format(errors, path / "hostname", name, dns1123_label);
  }
  if (has(address, "nodeName")) check_format(errors, path / "nodeName", str(address, "nodeName"), dns1123_subdomain);
  check_endpoint_ip(errors, path / "ip", str(address, "ip"));
}

}  // namespace

void check_endpoint_ip(Errors& errors, const Path& path, std::string_view ip) {
  const auto bytes = parse_address(ip);
  if (!bytes) return;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>((*bytes)[i]); };
  const bool v4 = bytes->size() == 4;
  const bool zero = std::all_of(bytes->begin(), bytes->end(), [](char c) { return c == 0; });
  const bool v6_loopback =
      !v4 && byte(15) == 1 && std::all_of(bytes->begin(), bytes->end() - 1, [](char c) { return c == 0; });
  if (zero) errors.invalid(path, ip, "may not be unspecified (" + std::string(ip) + ")");
  if (v4 ? byte(0) == 127 : v6_loopback) {
    errors.invalid(path, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
  }
  if (v4 ? byte(0) == 169 && byte(1) == 254 : byte(0) == 0xfe && (byte(1) & 0xc0) == 0x80) {
    errors.invalid(path, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
  }
  if (v4 ? byte(0) == 224 && byte(1) == 0 && byte(2) == 0 : byte(0) == 0xff && (byte(1) & 0x0f) == 2) {
    errors.invalid(path, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
  }
}

void create_config_map(Errors& errors, const Json& object) {
  const Json& binary = at(object, "binaryData");
  const Json& data = at(object, "data");
  if (data.is_object()) {
    for (const auto& [key, value] : data.items()) {
      if (has(binary, key)) {
        errors.invalid(Path("data").key(key), key, "duplicate of key present in binaryData");
      }
    }
  }
  const auto size =
      check_data(errors, Path("data"), data, false) + check_data(errors, Path("binaryData"), binary, true);
  if (size > kMaxData) errors.too_long(Path(), kMaxData);
}
void update_config_map(Errors& errors, const Json& object, const Json& old) {
  check_frozen(errors, object, old, {"data", "binaryData"});
  create_config_map(errors, object);
}

void create_secret(Errors& errors, const Json& object) {
  if (check_data(errors, Path("data"), at(object, "data"), true) > kMaxData) errors.too_long(Path("data"), kMaxData);
  check_secret_type(errors, object);
}
void update_secret(Errors& errors, const Json& object, const Json& old) {
  check_immutable(errors, Path("type"), at(object, "type"), at(old, "type"));
  check_frozen(errors, object, old, {"data"});
  create_secret(errors, object);
}

void create_namespace(Errors& errors, const Json& object) {
  std::size_t i = 0;
  for (const Json& finalizer : items(at(object, "spec", "finalizers"))) {
    const Path here = (Path("spec") / "finalizers")[i++];
    const auto name = str(finalizer);
    check_format(errors, here, name, qualified_name);
    if (name.find('/') == std::string_view::npos && name != "kubernetes" && name != "orphan" &&
        name != "foregroundDeletion") {
      errors.invalid(here, name, "name is neither a standard finalizer name nor is it fully qualified");
    }
  }
}
void update_namespace(Errors& /*errors*/, const Json& /*object*/, const Json& /*old*/) {}
void update_namespace_status(Errors& errors, const Json& object, const Json& /*old*/) {
  const bool deleted = has(at(object, "metadata"), "deletionTimestamp");
  const auto phase = str(at(object, "status"), "phase");
  if (!deleted && phase != "Active") {
    errors.invalid(Path("status") / "Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty");
  }
  if (deleted && phase != "Terminating") {
    errors.invalid(Path("status") / "Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
  }
}

void create_node(Errors& errors, const Json& object) {
  check_taints(errors, Path("metadata") / "taints", at(object, "spec", "taints"));
  check_node_status(errors, object);
  check_pod_cidrs(errors, object);
}
void update_node(Errors& errors, const Json& object, const Json& old) {
  const Path spec("spec");
  check_node_status(errors, object);
  const auto& addresses = items(at(object, "status", "addresses"));
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (std::find(addresses.begin(), addresses.begin() + static_cast<std::ptrdiff_t>(i), addresses[i]) !=
        addresses.begin() + static_cast<std::ptrdiff_t>(i)) {
      errors.duplicate((Path("status") / "addresses")[i], addresses[i]);
    }
  }
  const Json& cidrs = at(old, "spec", "podCIDRs");
  if (!blank(cidrs) && !same(cidrs, at(object, "spec", "podCIDRs"))) {
    errors.forbidden(spec / "podCIDRs", "node updates may not change podCIDR except from \"\" to valid");
  }
  const auto provider = str(at(old, "spec"), "providerID");
  if (!provider.empty() && provider != str(at(object, "spec"), "providerID")) {
    errors.forbidden(spec / "providerID", "node updates may not change providerID except from \"\" to valid");
  }
  check_taints(errors, Path("metadata") / "taints", at(object, "spec", "taints"));
}

void create_endpoints(Errors& errors, const Json& object) {
  std::size_t i = 0;
  for (const Json& subset : items(at(object, "subsets"))) {
    const Path here = Path("subsets")[i++];
    if (blank(at(subset, "addresses")) && blank(at(subset, "notReadyAddresses"))) {
      errors.required(here, "must specify `addresses` or `notReadyAddresses`");
    }
    for (const char* list : {"addresses", "notReadyAddresses"}) {
      std::size_t a = 0;
      for (const Json& address : items(at(subset, list))) check_endpoint_address(errors, (here / list)[a++], address);
    }
    const auto& ports = items(at(subset, "ports"));
    for (std::size_t p = 0; p < ports.size(); ++p) {
      const Path where = (here / "ports")[p];
      if (const auto name = str(ports[p], "name"); !name.empty()) {
        check_format(errors, where / "name", name, dns1123_label);
      } else if (ports.size() > 1) {
        errors.required(where / "name");
      }
      const auto number = num(ports[p], "port");
      for (const auto& fault : port_number(number)) errors.invalid(where / "port", number, fault);
      if (const auto protocol = str(ports[p], "protocol"); protocol.empty()) {
        errors.required(where / "protocol");
      } else {
        check_enum(errors, where / "protocol", protocol, {"SCTP", "TCP", "UDP"});
      }
      if (has(ports[p], "appProtocol")) {
        check_format(errors, where / "appProtocol", str(ports[p], "appProtocol"), qualified_name);
      }
    }
  }
}

}  // namespace brume::api::validation
