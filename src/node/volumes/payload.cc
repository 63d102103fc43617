#include "volumes/payload.h"

#include <algorithm>

#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "pod/pod.h"

namespace brume::node {

namespace {

constexpr unsigned kDefaultMode = 0644;
constexpr std::int64_t kDefaultTokenSeconds = 3600;

unsigned mode_of(const Json& item, unsigned fallback) { return static_cast<unsigned>(num(item, "mode", fallback)); }

using Data = std::map<std::string, std::string>;

Result<Data> config_map_data(const Json& object) {
  Data data;
  if (const Json& text = at(object, "data"); text.is_object()) {
    for (const auto& [key, value] : text.items()) data[key] = str(value);
  }
  if (const Json& binary = at(object, "binaryData"); binary.is_object()) {
    for (const auto& [key, value] : binary.items()) {
      auto bytes = base64_decode(str(value));
      if (!bytes) return fail(Code::kInvalid, "binaryData of key " + key + " is no base64");
      data[key] = *std::move(bytes);
    }
  }
  return data;
}

Result<Data> secret_data(const Json& object) {
  Data data;
  if (const Json& map = at(object, "data"); map.is_object()) {
    for (const auto& [key, value] : map.items()) {
      auto bytes = base64_decode(str(value));
      if (!bytes) return fail(Code::kInvalid, "secret value of key " + key + " is no base64");
      data[key] = *std::move(bytes);
    }
  }
  return data;
}

// `source` is a ConfigMap or Secret source with items and optional.
Status add_object(Payload& out, const Json& source, bool is_map, const std::string& name, unsigned default_mode,
                  const PayloadInputs& in) {
  const auto& pool = is_map ? in.objects.config_maps : in.objects.secrets;
  const bool optional = flag(source, "optional");
  const auto it = pool.find(name);
  if (it == pool.end()) {
    if (optional) return {};
    return fail(Code::kNotFound, std::string(is_map ? "configmap" : "secret") + " \"" + name + "\" not found");
  }
  BRUME_TRY(Data data, is_map ? config_map_data(it->second) : secret_data(it->second));
  const Json& items = at(source, "items");
  if (!items.is_array() || items.empty()) {
    for (auto& [key, value] : data) out[key] = {std::move(value), default_mode, std::nullopt};
    return {};
  }
  for (const Json& item : items) {
    const auto value = data.find(std::string(str(item, "key")));
    if (value == data.end()) {
      if (optional) continue;
      return fail(Code::kNotFound, std::string(is_map ? "configmap" : "secret") + " references non-existent " +
                                       (is_map ? "config" : "secret") + " key: " + std::string(str(item, "key")));
    }
    out[std::string(str(item, "path"))] = {value->second, mode_of(item, default_mode), std::nullopt};
  }
  return {};
}

Status add_downward(Payload& out, const Json& items, unsigned default_mode, const PayloadInputs& in) {
  for (const Json& item : items) {
    std::string value;
    if (const Json& ref = at(item, "fieldRef"); ref.is_object()) {
      BRUME_TRY(value, pod_field(in.pod, str(ref, "fieldPath"), in.info));
    } else {
      BRUME_TRY(value, resource_field(in.pod, Json(), at(item, "resourceFieldRef"), in.info));
    }
    out[std::string(str(item, "path"))] = {std::move(value), mode_of(item, default_mode), std::nullopt};
  }
  return {};
}

// The one uid that all containers run as, if the pod says so: then tokens belong to it alone.
std::optional<std::uint32_t> common_user(const Json& pod) {
  std::optional<std::uint32_t> common;
  for (const ContainerEntry& entry : containers_of(pod)) {
    const Json& own = at(*entry.spec, "securityContext", "runAsUser");
    const Json& uid = own.is_number() ? own : at(pod, "spec", "securityContext", "runAsUser");
    if (!uid.is_number()) return std::nullopt;
    const auto value = uid.get<std::uint32_t>();
    if (common && *common != value) return std::nullopt;
    common = value;
  }
  return common;
}

Status add_token(Payload& out, const Json& source, const std::string& key, unsigned default_mode,
                 const PayloadInputs& in) {
  const auto token = in.tokens.find(key);
  if (token == in.tokens.end()) return fail(Code::kNotFound, "no token for " + key + " yet");
  const auto owner = common_user(in.pod);
  const bool narrow = owner || at(in.pod, "spec", "securityContext", "fsGroup").is_number();
  out[std::string(str(source, "path"))] = {token->second.text, narrow ? 0600U : default_mode, owner};
  return {};
}

std::string token_key(const Json& volume, std::size_t index) {
  return std::string(str(volume, "name")) + "/" + std::to_string(index);
}

Result<Payload> projected_payload(const Json& volume, const PayloadInputs& in) {
  const Json& projected = at(volume, "projected");
  const auto mode = static_cast<unsigned>(num(projected, "defaultMode", kDefaultMode));
  Payload out;
  std::size_t index = 0;
  for (const Json& source : at(projected, "sources")) {
    const std::string key = token_key(volume, index++);
    if (const Json& map = at(source, "configMap"); map.is_object()) {
      BRUME_CHECK(add_object(out, map, true, std::string(str(map, "name")), mode, in));
    } else if (const Json& secret = at(source, "secret"); secret.is_object()) {
      BRUME_CHECK(add_object(out, secret, false, std::string(str(secret, "name")), mode, in));
    } else if (const Json& downward = at(source, "downwardAPI"); downward.is_object()) {
      BRUME_CHECK(add_downward(out, at(downward, "items"), mode, in));
    } else if (const Json& token = at(source, "serviceAccountToken"); token.is_object()) {
      BRUME_CHECK(add_token(out, token, key, mode, in));
    } else {
      return fail(Code::kInvalid, "projected source is not supported: " + dump_json(source));
    }
  }
  return out;
}

}  // namespace

std::vector<TokenSource> token_sources(const Json& pod) {
  std::vector<TokenSource> out;
  for (const Json& volume : at(pod, "spec", "volumes")) {
    std::size_t index = 0;
    for (const Json& source : at(volume, "projected", "sources")) {
      const std::string key = token_key(volume, index++);
      const Json& token = at(source, "serviceAccountToken");
      if (!token.is_object()) continue;
      out.push_back({key, std::string(str(token, "audience")), num(token, "expirationSeconds", kDefaultTokenSeconds)});
    }
  }
  return out;
}

WallTime Token::refresh_at() const {
  const auto life = expires - issued;
  return issued + std::min<WallTime::duration>(life * 4 / 5, std::chrono::hours(24));
}

bool has_payload(const Json& volume) {
  return volume.contains("configMap") || volume.contains("secret") || volume.contains("downwardAPI") ||
         volume.contains("projected");
}

Result<Payload> make_payload(const Json& volume, const PayloadInputs& in) {
  Payload out;
  if (const Json& map = at(volume, "configMap"); map.is_object()) {
    const auto mode = static_cast<unsigned>(num(map, "defaultMode", kDefaultMode));
    BRUME_CHECK(add_object(out, map, true, std::string(str(map, "name")), mode, in));
    return out;
  }
  if (const Json& secret = at(volume, "secret"); secret.is_object()) {
    const auto mode = static_cast<unsigned>(num(secret, "defaultMode", kDefaultMode));
    BRUME_CHECK(add_object(out, secret, false, std::string(str(secret, "secretName")), mode, in));
    return out;
  }
  if (const Json& downward = at(volume, "downwardAPI"); downward.is_object()) {
    const auto mode = static_cast<unsigned>(num(downward, "defaultMode", kDefaultMode));
    BRUME_CHECK(add_downward(out, at(downward, "items"), mode, in));
    return out;
  }
  return projected_payload(volume, in);
}

}  // namespace brume::node
