// Every pod runs as a service account and finds its token at the usual place; an account may bound the secrets of its
// pods.
#include <algorithm>

#include "brume/api/projection.h"
#include "brume/base/random.h"
#include "plugins.h"

namespace brume::apiserver {
namespace {

constexpr std::string_view kMountPath = "/var/run/secrets/kubernetes.io/serviceaccount";
constexpr std::string_view kVolumePrefix = "kube-api-access-";
/// One hour and seven seconds: an odd number that no person asks for, by which the token issuer knows these tokens.
constexpr std::int64_t kTokenSeconds = 3607;
constexpr int kFileMode = 0644;

Json token_sources() {
  Json sources = Json::array();
  sources.push_back({{"serviceAccountToken", {{"path", "token"}, {"expirationSeconds", kTokenSeconds}}}});
  const Json ca = {{"key", "ca.crt"}, {"path", "ca.crt"}};
  sources.push_back({{"configMap", {{"name", "kube-root-ca.crt"}, {"items", Json::array({ca})}}}});
  const Json field = {{"path", "namespace"}, {"fieldRef", {{"apiVersion", "v1"}, {"fieldPath", "metadata.namespace"}}}};
  sources.push_back({{"downwardAPI", {{"items", Json::array({field})}}}});
  return sources;
}

Json token_volume(const std::string& name) {
  static const Json kProjected{{"defaultMode", kFileMode}, {"sources", token_sources()}};  // a copy is quicker made
  Json volume = Json::object();
  volume["name"] = name;
  volume["projected"] = kProjected;
  return volume;
}

bool wants_token(const Json& account, const Json& spec) {
  if (at(spec, "automountServiceAccountToken").is_boolean()) return flag(spec, "automountServiceAccountToken");
  return flag(account, "automountServiceAccountToken", true);
}

/// Mounts `volume` in each container that has nothing at the path; whether any did not.
bool mount_token(Json& spec, const std::string& volume) {
  bool mounted = false;
  for (const auto* kind : {"initContainers", "containers"}) {
    if (!spec.contains(kind) || !spec[kind].is_array()) continue;
    for (auto& container : spec[kind]) {
      Json& mounts = array_in(container, "volumeMounts");
      if (std::ranges::any_of(mounts, [](const Json& m) { return str(m, "mountPath") == kMountPath; })) continue;
      mounts.push_back({{"name", volume}, {"readOnly", true}, {"mountPath", kMountPath}});
      mounted = true;
    }
  }
  return mounted;
}

void add_token(Json& spec) {
  Json& volumes = array_in(spec, "volumes");
  // A pod copied from a running one brings its volume along.
  const auto known =
      std::ranges::find_if(volumes, [](const Json& v) { return str(v, "name").starts_with(kVolumePrefix); });
  const std::string name =
      known != volumes.end() ? std::string(str(*known, "name")) : std::string(kVolumePrefix) + random_suffix(5);
  const bool add_volume = known == volumes.end();
  if (mount_token(spec, name) && add_volume) volumes.push_back(token_volume(name));
  if (volumes.empty()) spec.erase("volumes");
}

bool has_env_secret(const Json& spec) {
  for (const auto* kind : {"initContainers", "containers", "ephemeralContainers"}) {
    if (!at(spec, kind).is_array()) continue;
    for (const auto& container : at(spec, kind)) {
      for (const auto& env : at(container, "env")) {
        if (at(env, "valueFrom", "secretKeyRef").is_object()) return true;
      }
      for (const auto& from : at(container, "envFrom")) {
        if (at(from, "secretRef").is_object()) return true;
      }
    }
  }
  return false;
}

/// Mirror pods show what a node runs from files; they must not pull API objects to that node.
Status check_mirror(const AdmissionRequest& request) {
  const Json& spec = at(*request.object, "spec");
  if (!str(spec, "serviceAccountName").empty())
    return forbid(request, "a mirror pod may not reference service accounts");
  bool secrets =
      has_env_secret(spec) || (at(spec, "imagePullSecrets").is_array() && !at(spec, "imagePullSecrets").empty());
  for (const auto& volume : at(spec, "volumes")) {
    secrets = secrets || volume.contains("secret");
    for (const auto& source : at(volume, "projected", "sources")) {
      secrets = secrets || source.contains("secret");
      if (source.contains("serviceAccountToken")) {
        return forbid(request, "a mirror pod may not use ServiceAccountToken volume projections");
      }
    }
  }
  if (secrets) return forbid(request, "a mirror pod may not reference secrets");
  return {};
}

/// What an account that is annotated with kubernetes.io/enforce-mountable-secrets lets its pods refer to.
class MountableSecrets {
 public:
  MountableSecrets(const AdmissionRequest& request, const Json& account)
      : request_(request), account_(account), spec_(at(*request.object, "spec")) {}

  static bool enforced(const Json& account) {
    // strconv.ParseBool
    const auto value = annotation(account, "kubernetes.io/enforce-mountable-secrets");
    return value == "1" || value == "t" || value == "T" || value == "true" || value == "TRUE" || value == "True";
  }

  [[nodiscard]] Status check_pod() const {
    for (const Json& volume : at(spec_, "volumes")) {
      const Json& secret = at(volume, "secret");
      if (secret.is_object() && !lists("secrets", str(secret, "secretName"))) {
        return refuse("volume with secret.secretName=\"" + std::string(str(secret, "secretName")) + "\"");
      }
    }
    BRUME_CHECK(check_containers("initContainers", "init container "));
    BRUME_CHECK(check_containers("containers", "container "));
    int index = 0;
    for (const Json& pull : at(spec_, "imagePullSecrets")) {
      if (!lists("imagePullSecrets", str(pull, "name"))) {
        return refuse("imagePullSecrets[" + std::to_string(index) + "].name=\"" + std::string(str(pull, "name")) + "\"",
                      "imagePullSecret");
      }
      ++index;
    }
    return {};
  }

  [[nodiscard]] Status check_containers(const char* kind, const std::string& word) const {
    for (const Json& container : at(spec_, kind)) {
      const std::string who = word + std::string(str(container, "name"));
      for (const Json& env : at(container, "env")) {
        const Json& key = at(env, "valueFrom", "secretKeyRef");
        if (!key.is_object() || lists("secrets", str(key, "name"))) continue;
        return refuse(who + " with envVar " + std::string(str(env, "name")) + " referencing secret.secretName=\"" +
                      std::string(str(key, "name")) + "\"");
      }
      for (const Json& from : at(container, "envFrom")) {
        const Json& secret = at(from, "secretRef");
        if (!secret.is_object() || lists("secrets", str(secret, "name"))) continue;
        return refuse(who + " with envFrom referencing secret.secretName=\"" + std::string(str(secret, "name")) + "\"");
      }
    }
    return {};
  }

 private:
  [[nodiscard]] bool lists(const char* list, std::string_view name) const {
    return std::ranges::any_of(at(account_, list), [&](const Json& entry) { return str(entry, "name") == name; });
  }

  [[nodiscard]] Status refuse(const std::string& what, const std::string& kind = "secret") const {
    return forbid(request_, what + " is not allowed because service account " +
                                std::string(str(at(*request_.object, "spec"), "serviceAccountName")) +
                                " does not reference that " + kind);
  }

  const AdmissionRequest& request_;
  const Json& account_;
  const Json& spec_;
};

class ServiceAccount : public AdmissionPlugin {
 public:
  explicit ServiceAccount(const ObjectSource& objects) : objects_(objects) {}

  Status mutate(AdmissionRequest& request) const override {
    if (!creates(request, "pods")) return {};
    if (has_annotation(*request.object, kMirrorAnnotation)) return check_mirror(request);
    Json& spec = spec_of(*request.object);
    if (str(spec, "serviceAccountName").empty()) spec["serviceAccountName"] = "default";
    spec["serviceAccount"] = spec["serviceAccountName"];  // the deprecated twin is kept in step
    const std::string name(str(spec, "serviceAccountName"));
    BRUME_TRY(const Json account, account_of(request, name));
    if (wants_token(account, spec)) add_token(spec);
    const Json& pull = at(account, "imagePullSecrets");
    if (pull.is_array() && !pull.empty() &&
        (!at(spec, "imagePullSecrets").is_array() || spec["imagePullSecrets"].empty())) {
      spec["imagePullSecrets"] = pull;
    }
    return MountableSecrets::enforced(account) ? MountableSecrets(request, account).check_pod() : Status();
  }

  Status validate(const AdmissionRequest& request) const override {
    if (request.operation != Operation::kUpdate || request.subresource != "ephemeralcontainers" ||
        request.object == nullptr || request.resource != &api::res("pods")) {
      return {};
    }
    BRUME_TRY(const Json account,
              account_of(request, std::string(str(at(*request.object, "spec"), "serviceAccountName"))));
    if (!MountableSecrets::enforced(account)) return {};
    return MountableSecrets(request, account).check_containers("ephemeralContainers", "ephemeral container ");
  }

 private:
  // What is read of the account here.
  [[nodiscard]] Result<Json> account_of(const AdmissionRequest& request, const std::string& name) const {
    const auto object = objects_.find(api::res("serviceaccounts"), request.ns, name);
    if (!object) {
      return forbid(request, "error looking up service account " + request.ns + "/" + name + ": serviceaccount \"" +
                                 name + "\" not found");
    }
    static const api::Projection kRead(
        {"automountServiceAccountToken", "imagePullSecrets", "metadata.annotations", "secrets"});
    return kRead.parse(object->bytes());
  }

  const ObjectSource& objects_;
};

}  // namespace

bool awaits_default_account(const AdmissionRequest& request, const ObjectSource& objects) {
  if (!creates(request, "pods") || has_annotation(*request.object, kMirrorAnnotation)) return false;
  const std::string_view name = str(at(*request.object, "spec"), "serviceAccountName");
  if (!name.empty() && name != "default") return false;
  return !objects.find(api::res("serviceaccounts"), request.ns, "default") &&
         objects.find(api::res("namespaces"), "", request.ns);
}

PluginPtr service_account(const ObjectSource& objects) { return std::make_unique<ServiceAccount>(objects); }

}  // namespace brume::apiserver
