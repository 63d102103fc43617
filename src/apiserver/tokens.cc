#include "tokens.h"

#include <algorithm>

#include "brume/base/json.h"
#include "brume/base/random.h"
#include "brume/base/strings.h"

namespace brume::apiserver {
namespace {

using std::chrono::seconds;

constexpr seconds kLeeway{60};  ///< between clocks, as JOSE libraries allow by default
/// An object that is being deleted keeps its tokens this long past its deletionTimestamp, so that what still runs in it
/// can say good-bye to the API.
constexpr seconds kDeletionGrace{60};
constexpr std::int64_t kMinSeconds = 600;
constexpr std::int64_t kMaxSeconds = std::int64_t{1} << 32;
constexpr std::int64_t kDefaultSeconds = 3600;
constexpr std::int64_t kVolumeSeconds = 3607;  ///< what the admission of pods asks for; no person picks this number
constexpr std::int64_t kExtendedSeconds = 365 * 24 * 3600;
/// Earlier than this the machine's clock is not set yet (boards without a battery start in 1970 or 2000).
constexpr WallTime kClockIsSet = std::chrono::sys_days{std::chrono::year{2026} / 1 / 1};

std::unexpected<Error> refuse(std::string why) { return fail(Code::kUnauthorized, std::move(why)); }

std::vector<std::string> audiences_of(const Json& claims) {
  std::vector<std::string> out;
  const Json& aud = at(claims, "aud");
  if (aud.is_string()) out.emplace_back(str(aud));
  if (aud.is_array()) {
    for (const auto& one : aud) out.emplace_back(str(one));
  }
  return out;
}

std::int64_t unix_seconds(WallTime time) {
  return std::chrono::duration_cast<seconds>(time.time_since_epoch()).count();
}

const api::Resource* bindable(const Json& ref) {
  if (str(ref, "apiVersion") != "v1") return nullptr;
  if (str(ref, "kind") == "Pod") return &api::res("pods");
  if (str(ref, "kind") == "Secret") return &api::res("secrets");
  if (str(ref, "kind") == "Node") return &api::res("nodes");
  return nullptr;
}

Status validate_request(const std::string& name, std::int64_t duration) {
  std::string detail;
  if (duration < kMinSeconds) detail = "may not specify a duration less than 10 minutes";
  if (duration > kMaxSeconds) detail = "may not specify a duration larger than 2^32 seconds";
  if (detail.empty()) return {};
  const std::string message = "Invalid value: " + std::to_string(duration) + ": " + detail;
  return fail(
      Error{Code::kInvalid,
            "TokenRequest.authentication.k8s.io \"" + name + "\" is invalid: spec.expirationSeconds: " + message,
            {Cause{"FieldValueInvalid", message, "spec.expirationSeconds"}}});
}

}  // namespace

User service_account_user(std::string_view ns, std::string_view name, std::string_view uid) {
  User user;
  user.name = std::string("system:serviceaccount:").append(ns).append(":").append(name);
  user.uid = uid;
  user.groups = {"system:serviceaccounts", "system:serviceaccounts:" + std::string(ns)};
  return user;
}

ServiceAccountTokens::ServiceAccountTokens(PrivateKey key, TokenOptions options, const ObjectSource& objects,
                                           const Clock& clock)
    : signer_(std::move(key)), options_(std::move(options)), objects_(objects), clock_(clock) {}

Status ServiceAccountTokens::check_times(const Json& claims) const {
  const WallTime now = clock_.now();
  if (!at(claims, "exp").is_number_integer()) return refuse("token has no expiry");
  if (unix_seconds(now - kLeeway) > num(claims, "exp")) return refuse("token has expired");
  // A clock that has not been set cannot say that a token is from the future; its signature still says that it is ours.
  if (now >= kClockIsSet && unix_seconds(now + kLeeway) < num(claims, "nbf")) return refuse("token is not valid yet");
  return {};
}

Status ServiceAccountTokens::check_bound(const api::Resource& resource, std::string_view ns, const Json& claim) const {
  const auto object = objects_.find(resource, ns, str(claim, "name"));
  const std::string what = std::string(resource.singular) + " " + std::string(str(claim, "name"));
  if (!object) return refuse("token is bound to " + what + ", which is gone");
  if (object->uid() != str(claim, "uid")) return refuse("token is bound to an earlier " + what);
  if (!object->deleting()) return {};
  const auto deleted = parse_rfc3339(object->deletion_timestamp());
  if (deleted && clock_.now() > *deleted + kDeletionGrace)
    return refuse("token is bound to " + what + ", which was deleted");
  return {};
}

Result<ServiceAccountTokens::Verified> ServiceAccountTokens::verify(std::string_view token,
                                                                    const std::vector<std::string>& audiences) const {
  BRUME_TRY(const auto shared, signer_.verify(token));
  const Json& claims = *shared;
  if (str(claims, "iss") != options_.issuer) return refuse("token is of another issuer");
  BRUME_CHECK(check_times(claims));

  Verified out;
  const auto& wanted = audiences.empty() ? options_.api_audiences : audiences;
  for (const auto& audience : audiences_of(claims)) {
    if (std::ranges::find(wanted, audience) != wanted.end()) out.audiences.push_back(audience);
  }
  if (out.audiences.empty()) return refuse("token is for other audiences");

  const Json& own = at(claims, "kubernetes.io");
  const std::string_view ns = str(own, "namespace");
  const Json& account = at(own, "serviceaccount");
  out.user = service_account_user(ns, str(account, "name"), str(account, "uid"));
  if (ns.empty() || str(account, "name").empty() || str(claims, "sub") != out.user.name) {
    return refuse("token names no service account");
  }
  BRUME_CHECK(check_bound(api::res("serviceaccounts"), ns, account));
  auto& extra = out.user.extra;
  if (!str(claims, "jti").empty()) {
    extra.push_back({"authentication.kubernetes.io/credential-id", {"JTI=" + std::string(str(claims, "jti"))}});
  }
  const Json& node = at(own, "node");
  if (node.is_object()) {
    // Of a pod's token the node is a note; of a token that is bound to the node itself it is the bond.
    if (!own.contains("pod")) BRUME_CHECK(check_bound(api::res("nodes"), "", node));
    extra.push_back({"authentication.kubernetes.io/node-name", {std::string(str(node, "name"))}});
    if (!str(node, "uid").empty()) {
      extra.push_back({"authentication.kubernetes.io/node-uid", {std::string(str(node, "uid"))}});
    }
  }
  if (own.contains("pod")) {
    BRUME_CHECK(check_bound(api::res("pods"), ns, at(own, "pod")));
    extra.push_back({"authentication.kubernetes.io/pod-name", {std::string(str(at(own, "pod"), "name"))}});
    extra.push_back({"authentication.kubernetes.io/pod-uid", {std::string(str(at(own, "pod"), "uid"))}});
  }
  if (own.contains("secret")) BRUME_CHECK(check_bound(api::res("secrets"), ns, at(own, "secret")));
  return out;
}

Result<Json> ServiceAccountTokens::bound_claims(const std::string& ns, const std::string& account,
                                                const Json& ref) const {
  Json claims = Json::object();
  if (!ref.is_object()) return claims;
  const auto* resource = bindable(ref);
  const std::string name(str(ref, "name"));
  if (resource == nullptr) {
    return fail(Code::kBadRequest, "cannot bind token for object of type " + std::string(str(ref, "apiVersion")) +
                                       ", Kind=" + std::string(str(ref, "kind")));
  }
  const auto object = objects_.find(*resource, resource->namespaced ? ns : "", name);
  if (!object) return fail(Code::kNotFound, std::string(resource->plural) + " \"" + name + "\" not found");
  if (!str(ref, "uid").empty() && str(ref, "uid") != object->uid()) {
    return fail(Code::kConflict,
                "Operation cannot be fulfilled on " + std::string(resource->plural) + " \"" + name +
                    "\": the UID in the bound object reference (" + std::string(str(ref, "uid")) +
                    ") does not match the UID in record. The object might have been deleted and then recreated");
  }
  claims[resource->singular] = {{"name", name}, {"uid", object->uid()}};
  if (resource->plural != "pods") return claims;
  const Json pod = object->parse();
  if (str(at(pod, "spec"), "serviceAccountName") != account) {
    return fail(Code::kBadRequest, "cannot bind token to a Pod running with a different service account name.");
  }
  if (const std::string node(str(at(pod, "spec"), "nodeName")); !node.empty()) {
    claims["node"] = {{"name", node}};
    if (const auto found = objects_.find(api::res("nodes"), "", node)) claims["node"]["uid"] = found->uid();
  }
  return claims;
}

Result<Json> ServiceAccountTokens::issue(const std::string& ns, const std::string& name, Json request) const {
  const auto account = objects_.find(api::res("serviceaccounts"), ns, name);
  if (!account) return fail(Code::kNotFound, "serviceaccounts \"" + name + "\" not found");
  if (!request.is_object()) return fail(Code::kBadRequest, "the body is not a TokenRequest");
  for (const auto& [field, wanted] :
       {std::pair<std::string_view, const std::string&>{"name", name}, {"namespace", ns}}) {
    const std::string_view given = str(at(request, "metadata"), field);
    if (!given.empty() && given != wanted) {
      return fail(Code::kBadRequest, "the " + std::string(field) + " of the object (" + std::string(given) +
                                         ") does not match the " + std::string(field) + " on the URL (" + wanted + ")");
    }
  }
  Json& spec = request["spec"];
  if (!spec.is_object()) spec = Json::object();
  const std::int64_t duration = num(spec, "expirationSeconds", kDefaultSeconds);
  BRUME_CHECK(validate_request(name, duration));
  if (!at(spec, "audiences").is_array() || spec["audiences"].empty()) spec["audiences"] = options_.api_audiences;
  BRUME_TRY(Json own, bound_claims(ns, name, at(spec, "boundObjectRef")));

  const WallTime now = clock_.now();
  const std::int64_t issued = unix_seconds(now);
  const bool for_api = std::ranges::any_of(spec["audiences"], [&](const Json& audience) {
    return std::ranges::find(options_.api_audiences, str(audience)) != options_.api_audiences.end();
  });
  const bool extended = options_.extend_volume_tokens && duration == kVolumeSeconds && own.contains("pod") && for_api;
  own["namespace"] = ns;
  own["serviceaccount"] = {{"name", name}, {"uid", account->uid()}};
  if (extended) own["warnafter"] = issued + duration;
  const Json claims = {{"aud", spec["audiences"]},
                       {"exp", issued + (extended ? kExtendedSeconds : duration)},
                       {"iat", issued},
                       {"iss", options_.issuer},
                       {"jti", new_uid()},
                       {"kubernetes.io", std::move(own)},
                       {"nbf", issued},
                       {"sub", "system:serviceaccount:" + ns + ":" + name}};
  BRUME_TRY(std::string token, signer_.sign(claims));

  spec["expirationSeconds"] = duration;
  if (!spec.contains("boundObjectRef")) spec["boundObjectRef"] = nullptr;
  request["apiVersion"] = "authentication.k8s.io/v1";
  request["kind"] = "TokenRequest";
  request["metadata"] = {{"name", name}, {"namespace", ns}, {"creationTimestamp", format_rfc3339(now)}};
  request["status"] = {{"token", std::move(token)}, {"expirationTimestamp", format_rfc3339(now + seconds(duration))}};
  return request;
}

std::string ServiceAccountTokens::discovery(std::string_view base_url) const {
  return dump_json(Json{{"issuer", options_.issuer},
                        {"jwks_uri", std::string(base_url) + "/openid/v1/jwks"},
                        {"response_types_supported", Json::array({"id_token"})},
                        {"subject_types_supported", Json::array({"public"})},
                        {"id_token_signing_alg_values_supported", Json::array({"ES256"})}});
}

}  // namespace brume::apiserver
