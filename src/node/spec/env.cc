#include "spec/env.h"

#include <algorithm>

#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "pod/pod.h"
#include "spec/expansion.h"

namespace brume::node {

namespace {

// Names that a process environment can carry: Kubernetes' relaxed rule, printable ASCII without '='.
bool valid_env_name(std::string_view name) {
  return !name.empty() &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= 0x20 && c < 0x7f && c != '='; });
}

class EnvBuilder {
 public:
  void set(std::string_view name, std::string value) {
    if (const auto it = index_.find(name); it != index_.end()) {
      list_[it->second].second = std::move(value);
      return;
    }
    index_.emplace(std::string(name), list_.size());
    list_.emplace_back(std::string(name), std::move(value));
  }
  [[nodiscard]] std::optional<std::string> find(std::string_view name) const {
    const auto it = index_.find(name);
    if (it == index_.end()) return std::nullopt;
    return list_[it->second].second;
  }
  EnvList take() { return std::move(list_); }

 private:
  EnvList list_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

Result<std::string> secret_value(const Json& secret, std::string_view key) {
  auto bytes = base64_decode(str(at(secret, "data"), key));
  if (!bytes) return fail(Code::kInvalid, "secret value of key " + std::string(key) + " is no base64");
  return *std::move(bytes);
}

Status add_env_from(EnvBuilder& env, const Json& source, const PodObjects& objects) {
  const std::string prefix(str(source, "prefix"));
  for (const bool is_map : {true, false}) {
    const Json& ref = at(source, is_map ? "configMapRef" : "secretRef");
    if (!ref.is_object()) continue;
    const auto& pool = is_map ? objects.config_maps : objects.secrets;
    const auto it = pool.find(str(ref, "name"));
    if (it == pool.end()) {
      if (flag(ref, "optional")) continue;
      return fail(Code::kNotFound, std::string(is_map ? "configmap" : "secret") + " \"" +
                                       std::string(str(ref, "name")) + "\" not found");
    }
    const Json& data = at(it->second, "data");
    if (!data.is_object()) continue;
    for (const auto& [key, value] : data.items()) {
      const std::string name = prefix + key;
      if (!valid_env_name(name)) continue;
      if (is_map) {
        env.set(name, std::string(str(value)));
      } else {
        BRUME_TRY(std::string bytes, secret_value(it->second, key));
        env.set(name, std::move(bytes));
      }
    }
  }
  return {};
}

// nullopt: an optional source that is absent, so the variable is not set.
Result<std::optional<std::string>> key_value(const Json& ref, bool is_map, const PodObjects& objects, const Json& pod) {
  const std::string name(str(ref, "name"));
  const std::string key(str(ref, "key"));
  const auto& pool = is_map ? objects.config_maps : objects.secrets;
  const auto it = pool.find(name);
  const bool optional = flag(ref, "optional");
  if (it == pool.end()) {
    if (optional) return std::optional<std::string>();
    return fail(Code::kNotFound, std::string(is_map ? "configmap" : "secret") + " \"" + name + "\" not found");
  }
  if (at(it->second, "data", key).is_null()) {
    if (optional) return std::optional<std::string>();
    return fail(Code::kNotFound, "couldn't find key " + key + " in " + (is_map ? "ConfigMap " : "Secret ") +
                                     std::string(str(at(pod, "metadata"), "namespace")) + "/" + name);
  }
  if (is_map) return std::optional<std::string>(std::string(str(at(it->second, "data"), key)));
  BRUME_TRY(std::string bytes, secret_value(it->second, key));
  return std::optional<std::string>(std::move(bytes));
}

Result<std::optional<std::string>> file_value(const Json& ref, const EnvFiles& files) {
  const std::string path(str(ref, "path"));
  const auto it = files.find({std::string(str(ref, "volumeName")), path});
  const std::optional<std::string> text = it == files.end() ? std::nullopt : it->second;
  std::optional<std::string> value;
  if (text) {
    auto found = env_file_value(*text, str(ref, "key"));
    if (!found) return fail(wrap(std::move(found).error(), "couldn't parse env file \"" + path + "\""));
    value = *std::move(found);
  }
  if (value || flag(ref, "optional")) return value;
  return fail(Code::kNotFound,
              "environment variable key \"" + std::string(str(ref, "key")) + "\" not found in file \"" + path + "\"");
}

Result<std::optional<std::string>> value_from(const Json& from, const Json& pod, const Json& container,
                                              const PodObjects& objects, const PodRuntimeInfo& info,
                                              const EnvFiles& files) {
  if (const Json& ref = at(from, "fieldRef"); ref.is_object()) {
    BRUME_TRY(std::string value, pod_field(pod, str(ref, "fieldPath"), info));
    return std::optional<std::string>(std::move(value));
  }
  if (const Json& ref = at(from, "resourceFieldRef"); ref.is_object()) {
    BRUME_TRY(std::string value, resource_field(pod, container, ref, info));
    return std::optional<std::string>(std::move(value));
  }
  if (const Json& ref = at(from, "configMapKeyRef"); ref.is_object()) return key_value(ref, true, objects, pod);
  if (const Json& ref = at(from, "secretKeyRef"); ref.is_object()) return key_value(ref, false, objects, pod);
  if (const Json& ref = at(from, "fileKeyRef"); ref.is_object()) return file_value(ref, files);
  return fail(Code::kInvalid, "env source is not supported: " + dump_json(from));
}

std::string env_prefix(std::string_view service) {
  std::string out(service);
  for (char& c : out) c = c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  return out;
}

void collect_volume(ObjectNames& names, const Json& volume) {
  if (const Json& map = at(volume, "configMap"); map.is_object()) names.config_maps.emplace(str(map, "name"));
  if (const Json& secret = at(volume, "secret"); secret.is_object()) {
    const auto name = str(secret, "secretName");
    names.secrets.emplace(name.empty() ? str(secret, "name") : name);
  }
}

}  // namespace

ObjectNames named_objects(const Json& pod) {
  ObjectNames names;
  for (const ContainerEntry& entry : containers_of(pod)) {
    for (const Json& from : at(*entry.spec, "envFrom")) {
      if (at(from, "configMapRef").is_object()) names.config_maps.emplace(str(at(from, "configMapRef"), "name"));
      if (at(from, "secretRef").is_object()) names.secrets.emplace(str(at(from, "secretRef"), "name"));
    }
    for (const Json& var : at(*entry.spec, "env")) {
      const Json& from = at(var, "valueFrom");
      if (at(from, "configMapKeyRef").is_object()) names.config_maps.emplace(str(at(from, "configMapKeyRef"), "name"));
      if (at(from, "secretKeyRef").is_object()) names.secrets.emplace(str(at(from, "secretKeyRef"), "name"));
    }
  }
  for (const Json& volume : at(pod, "spec", "volumes")) {
    collect_volume(names, volume);
    for (const Json& source : at(volume, "projected", "sources")) collect_volume(names, source);
  }
  return names;
}

EnvList service_env(const std::vector<Json>& services) {
  EnvList out;
  for (const Json& service : services) {
    const Json& spec = at(service, "spec");
    const std::string ip(str(spec, "clusterIP"));
    const Json& ports = at(spec, "ports");
    if (ip.empty() || ip == "None" || !ports.is_array() || ports.empty()) continue;
    const std::string prefix = env_prefix(str(at(service, "metadata"), "name"));
    const std::string host = ip.find(':') == std::string::npos ? ip : "[" + ip + "]";
    out.emplace_back(prefix + "_SERVICE_HOST", ip);
    out.emplace_back(prefix + "_SERVICE_PORT", std::to_string(num(ports[0], "port")));
    for (const Json& port : ports) {
      if (const auto name = str(port, "name"); !name.empty()) {
        out.emplace_back(prefix + "_SERVICE_PORT_" + env_prefix(name), std::to_string(num(port, "port")));
      }
    }
    // Docker's link variables, which Kubernetes still sets.
    for (std::size_t i = 0; i < ports.size(); ++i) {
      std::string protocol(str(ports[i], "protocol"));
      if (protocol.empty()) protocol = "TCP";
      const std::string lower = to_lower(protocol);
      const std::string number = std::to_string(num(ports[i], "port"));
      const std::string url = lower + "://" + host + ":" + number;
      if (i == 0) out.emplace_back(prefix + "_PORT", url);
      const std::string port_prefix = prefix + "_PORT_" + number + "_" + protocol;
      out.emplace_back(port_prefix, url);
      out.emplace_back(port_prefix + "_PROTO", lower);
      out.emplace_back(port_prefix + "_PORT", number);
      out.emplace_back(port_prefix + "_ADDR", ip);
    }
  }
  return out;
}

Result<EnvList> make_env(const Json& pod, const Json& container, const PodObjects& objects, const EnvList& services,
                         const PodRuntimeInfo& info, const EnvFiles& files) {
  EnvBuilder env;
  for (const Json& source : at(container, "envFrom")) BRUME_CHECK(add_env_from(env, source, objects));
  std::map<std::string, std::string, std::less<>> service_values;
  for (const auto& [name, value] : services) service_values.insert_or_assign(name, value);
  const auto lookup = [&](std::string_view name) -> std::optional<std::string> {
    if (auto value = env.find(name)) return value;
    if (const auto it = service_values.find(name); it != service_values.end()) return it->second;
    return std::nullopt;
  };
  for (const Json& var : at(container, "env")) {
    const std::string_view name = str(var, "name");
    const Json& from = at(var, "valueFrom");
    if (str(var, "value").empty() && from.is_object()) {
      BRUME_TRY(std::optional<std::string> value, value_from(from, pod, container, objects, info, files));
      if (value) env.set(name, *std::move(value));
    } else {
      env.set(name, expand(str(var, "value"), lookup));
    }
  }
  // What the pod says itself wins over service variables.
  for (const auto& [name, value] : services) {
    if (!env.find(name)) env.set(name, value);
  }
  return env.take();
}

CommandLine make_command(const Json& container, const EnvList& env) {
  const auto lookup = [&](std::string_view name) -> std::optional<std::string> {
    for (auto it = env.rbegin(); it != env.rend(); ++it) {
      if (it->first == name) return it->second;
    }
    return std::nullopt;
  };
  CommandLine line;
  for (const Json& word : at(container, "command")) line.command.push_back(expand(str(word), lookup));
  for (const Json& word : at(container, "args")) line.args.push_back(expand(str(word), lookup));
  return line;
}

}  // namespace brume::node
