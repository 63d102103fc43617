// Service-account tokens and who a request comes from.
#include "../../../src/apiserver/authn.h"
#include "../../../src/apiserver/authz.h"
#include "../../../src/apiserver/tokens.h"
#include "brume/base/strings.h"
#include "catch.h"
#include "sec_fixture.h"

using namespace brume;
using namespace brume::apiserver;
using namespace brume::apiserver::testing;

namespace {

constexpr const char* kIssuer = "https://kubernetes.default.svc.cluster.local";

struct World {
  FakeObjects objects;
  FakeClock clock;
  PrivateKey key = *PrivateKey::generate();
  ServiceAccountTokens tokens{key, {.issuer = kIssuer, .api_audiences = {kIssuer}}, objects, clock};
  ChainAuthorizer authorizer{objects};
  ChainAuthenticator authn{tokens, authorizer, "join-secret", true};

  World() {
    objects.put(
        "serviceaccounts",
        R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"robot","namespace":"ns","uid":"sa-1"}})");
    objects.put("nodes", R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"n1","uid":"node-1"}})");
    put_pod("pod-1");
  }
  void put_pod(const std::string& uid, const std::string& deleted = "") {
    Json pod = *parse_json(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"ns"},
                               "spec":{"nodeName":"n1","serviceAccountName":"robot"}})");
    pod["metadata"]["uid"] = uid;
    if (!deleted.empty()) pod["metadata"]["deletionTimestamp"] = deleted;
    objects.put("pods", pod);
  }
  std::string token(Json spec = Json::object()) {
    const auto answer = tokens.issue("ns", "robot", Json{{"spec", std::move(spec)}});
    return answer ? std::string(str(at(*answer, "status"), "token")) : "";
  }
  static Json for_pod() {
    return {{"boundObjectRef", {{"apiVersion", "v1"}, {"kind", "Pod"}, {"name", "p"}, {"uid", "pod-1"}}}};
  }
  std::string why(std::string_view token_text) {
    const auto result = tokens.verify(token_text);
    return result ? "accepted" : result.error().message;
  }
};

http::Request bearing(const std::string& token) {
  http::Request request;
  request.headers.add("Authorization", "Bearer " + token);
  return request;
}

/// The token with its header or claims replaced, signature kept.
std::string with_part(std::string_view token, std::size_t part, const Json& value) {
  const auto parts = split(token, '.');
  std::vector<std::string> out(parts.begin(), parts.end());
  out[part] = base64url_encode(dump_json(value));
  return join(out, ".");
}

}  // namespace

TEST_CASE("tokens: a good token is its service account") {
  World w;
  const auto verified = w.tokens.verify(w.token(World::for_pod()));
  REQUIRE(verified.has_value());
  CHECK(verified->user.name == "system:serviceaccount:ns:robot");
  CHECK(verified->user.uid == "sa-1");
  CHECK(verified->user.in_group("system:serviceaccounts"));
  CHECK(verified->user.in_group("system:serviceaccounts:ns"));
  CHECK(verified->audiences == std::vector<std::string>{kIssuer});
  Json extra = Json::object();
  for (const auto& [key, values] : verified->user.extra) extra[key] = values[0];
  CHECK(str(extra, "authentication.kubernetes.io/pod-name") == "p");
  CHECK(str(extra, "authentication.kubernetes.io/pod-uid") == "pod-1");
  CHECK(str(extra, "authentication.kubernetes.io/node-name") == "n1");
  CHECK(str(extra, "authentication.kubernetes.io/node-uid") == "node-1");
  CHECK(str(extra, "authentication.kubernetes.io/credential-id").substr(0, 4) == "JTI=");
}

TEST_CASE("tokens: tampering and algorithm confusion are refused") {
  World w;
  const std::string good = w.token();
  const auto parts = split(good, '.');
  Json claims = *parse_json(*base64url_decode(parts[1]));
  claims["sub"] = "system:serviceaccount:kube-system:admin";
  CHECK(w.why(with_part(good, 1, claims)).find("signature") != std::string::npos);
  CHECK(w.why(with_part(good, 0, {{"alg", "none"}})).find("algorithm") != std::string::npos);
  CHECK(w.why(std::string(parts[0]) + "." + std::string(parts[1]) + ".") != "accepted");
  CHECK(w.why(with_part(good, 0, {{"alg", "none"}}).substr(0, good.rfind('.'))) != "accepted");
  // HMAC with the public key as its secret: what a verifier that obeys the header falls for.
  std::string forged = base64url_encode(R"({"alg":"HS256"})") + "." + std::string(parts[1]);
  forged += "." + base64url_encode(hmac_sha256(w.key.public_key().to_pem(), forged));
  CHECK(w.why(forged).find("algorithm") != std::string::npos);
  const JwtSigner stranger(*PrivateKey::generate());
  CHECK(w.why(*stranger.sign(*parse_json(*base64url_decode(parts[1])))).find("another key") != std::string::npos);
  CHECK(w.why("") != "accepted");
  CHECK(w.why("a.b.c") != "accepted");
  CHECK(w.why(std::string(100'000, 'a')) != "accepted");
  CHECK(w.why(good) == "accepted");
}

TEST_CASE("tokens: time") {
  World w;
  const std::string token = w.token({{"expirationSeconds", 600}});
  CHECK(w.why(token) == "accepted");
  w.clock.time += std::chrono::seconds(650);
  CHECK(w.why(token) == "accepted");  // within the leeway
  w.clock.time += std::chrono::seconds(20);
  CHECK(w.why(token) == "token has expired");
  w.clock.time -= std::chrono::seconds(670 + 50);
  CHECK(w.why(token) == "accepted");
  w.clock.time -= std::chrono::seconds(60);
  CHECK(w.why(token) == "token is not valid yet");
  w.clock.time = *parse_rfc3339("1970-01-01T00:01:00Z");
  CHECK(w.why(token) == "accepted");  // the clock lost power; the token did not
}

TEST_CASE("tokens: issuer, audience and shape") {
  World w;
  const JwtSigner signer(w.key);
  const auto signed_with = [&](const Json& change) {
    Json claims = *parse_json(*base64url_decode(split(w.token(), '.')[1]));
    claims.merge_patch(change);
    return w.why(*signer.sign(claims));
  };
  CHECK(signed_with(Json::object()) == "accepted");
  CHECK(signed_with({{"iss", "https://elsewhere"}}) == "token is of another issuer");
  CHECK(signed_with({{"aud", "vault"}}) == "token is for other audiences");
  CHECK(signed_with({{"aud", kIssuer}}) == "accepted");
  CHECK(signed_with({{"exp", nullptr}}) == "token has no expiry");
  CHECK(signed_with({{"sub", "system:masters"}}) == "token names no service account");
  CHECK(signed_with({{"kubernetes.io", nullptr}}) == "token names no service account");
  const std::string vault = w.token({{"audiences", Json::array({"vault"})}});
  CHECK(w.why(vault) == "token is for other audiences");
  CHECK(w.tokens.verify(vault, {"vault", "x"})->audiences == std::vector<std::string>{"vault"});
}

TEST_CASE("tokens: end with what they are bound to") {
  World w;
  const std::string token = w.token(World::for_pod());
  SECTION("account deleted") {
    w.objects.remove("serviceaccounts", "ns/robot");
    CHECK(w.why(token) == "token is bound to serviceaccount robot, which is gone");
  }
  SECTION("account made anew") {
    w.objects.put(
        "serviceaccounts",
        R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"robot","namespace":"ns","uid":"sa-2"}})");
    CHECK(w.why(token) == "token is bound to an earlier serviceaccount robot");
  }
  SECTION("pod deleted") {
    w.objects.remove("pods", "ns/p");
    CHECK(w.why(token) == "token is bound to pod p, which is gone");
  }
  SECTION("pod made anew") {
    w.put_pod("pod-2");
    CHECK(w.why(token) == "token is bound to an earlier pod p");
  }
  SECTION("pod ending") {
    w.put_pod("pod-1", "2026-11-22T12:00:30Z");
    CHECK(w.why(token) == "accepted");
    w.clock.time = *parse_rfc3339("2026-11-22T12:01:31Z");
    CHECK(w.why(token) == "token is bound to pod p, which was deleted");
  }
}

TEST_CASE("tokens: requests") {
  World w;
  const auto error = [&](const Json& spec, const char* account = "robot") {
    const auto result = w.tokens.issue("ns", account, Json{{"spec", spec}});
    return result ? Error{Code::kInternal, "accepted"} : result.error();
  };
  CHECK(error({{"expirationSeconds", 599}}).message ==
        "TokenRequest.authentication.k8s.io \"robot\" is invalid: spec.expirationSeconds: Invalid value: 599: may not "
        "specify a "
        "duration less than 10 minutes");
  CHECK(error({{"expirationSeconds", 599}}).causes[0].field == "spec.expirationSeconds");
  CHECK(error({{"expirationSeconds", 5'000'000'000}}).code == Code::kInvalid);
  CHECK(error(Json::object(), "nobody").message == "serviceaccounts \"nobody\" not found");
  const auto bound = [&](const char* kind, const char* name, const char* uid) {
    return error({{"boundObjectRef", {{"apiVersion", "v1"}, {"kind", kind}, {"name", name}, {"uid", uid}}}});
  };
  CHECK(bound("Pod", "q", "").message == "pods \"q\" not found");
  CHECK(bound("Pod", "p", "other").code == Code::kConflict);
  CHECK(bound("Service", "p", "").code == Code::kBadRequest);
  CHECK(bound("Node", "n1", "node-1").message == "accepted");
  w.objects.put(
      "serviceaccounts",
      R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"other","namespace":"ns","uid":"sa-3"}})");
  CHECK(error(World::for_pod(), "other").message ==
        "cannot bind token to a Pod running with a different service account name.");

  const auto answer = w.tokens.issue("ns", "robot", Json{{"spec", World::for_pod()}});
  CHECK(str(*answer, "kind") == "TokenRequest");
  CHECK(num(at(*answer, "spec"), "expirationSeconds") == 3600);
  CHECK(str(at(*answer, "status"), "expirationTimestamp") == "2026-11-22T13:00:00Z");
  // The automatic volume's tokens outlive what they say, for clients that read them once.
  Json spec = World::for_pod();
  spec["expirationSeconds"] = 3607;
  const std::string token = w.token(spec);
  w.clock.time += std::chrono::hours(24 * 300);
  CHECK(w.why(token) == "accepted");
  w.clock.time += std::chrono::hours(24 * 100);
  CHECK(w.why(token) == "token has expired");
}

TEST_CASE("tokens: discovery documents") {
  World w;
  const auto keys = parse_json(w.tokens.jwks());
  const Json& key = at(*keys, "keys")[0];
  CHECK(str(key, "kty") == "EC");
  CHECK(base64url_decode(str(key, "x"))->size() == 32);
  const std::string token = w.token();
  const auto header = parse_json(*base64url_decode(split(token, '.')[0]));
  CHECK(str(*header, "kid") == str(key, "kid"));
  CHECK(str(*parse_json(w.tokens.discovery("https://h:6443")), "jwks_uri") == "https://h:6443/openid/v1/jwks");
}

TEST_CASE("authn: certificate, token, nobody") {
  World w;
  http::Request request;
  CHECK(w.authn.identify(request)->name == "system:anonymous");
  CHECK(w.authn.identify(request)->groups == std::vector<std::string>{"system:unauthenticated"});
  request.peer_certificate = http::PeerCertificate{"jane", {"dev", "ops"}, ""};
  CHECK(w.authn.identify(request)->name == "jane");
  CHECK(w.authn.identify(request)->groups == std::vector<std::string>{"dev", "ops", "system:authenticated"});
  const auto robot = w.authn.identify(bearing(w.token()));
  REQUIRE(robot.has_value());
  CHECK(robot->in_group("system:authenticated"));
  const auto bad = w.authn.identify(bearing("nonsense"));
  REQUIRE_FALSE(bad.has_value());
  CHECK(bad.error().code == Code::kUnauthorized);
  CHECK(bad.error().message == "Unauthorized");
  CHECK(w.authn.identify(bearing("join-secret"))->groups[0] == "system:bootstrappers");
  CHECK_FALSE(w.authn.identify(bearing("join-secre")).has_value());
  http::Request socket;
  socket.headers = {{"Connection", "Upgrade"},
                    {"Upgrade", "websocket"},
                    {"Sec-WebSocket-Protocol",
                     "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io." + base64url_encode(w.token())}};
  CHECK(w.authn.identify(socket)->name == "system:serviceaccount:ns:robot");
  socket.headers.remove("Upgrade");
  CHECK(w.authn.identify(socket)->name == "system:anonymous");
  http::Request basic;
  basic.headers.add("Authorization", "Basic dTpw");
  CHECK(w.authn.identify(basic)->name == "system:anonymous");
  const ChainAuthenticator closed(w.tokens, w.authorizer, "", false);
  CHECK(closed.identify(http::Request{}).error().code == Code::kUnauthorized);
  CHECK_FALSE(closed.identify(bearing("")).has_value());  // an empty --token is no token
}

TEST_CASE("authn: impersonation is authorised part by part") {
  World w;
  w.objects.put("clusterroles.rbac.authorization.k8s.io",
                R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"imp"},
    "rules":[{"verbs":["impersonate"],"apiGroups":[""],"resources":["users"],"resourceNames":["bob"]},
             {"verbs":["impersonate"],"apiGroups":[""],"resources":["serviceaccounts"]},
             {"verbs":["impersonate"],"apiGroups":["authentication.k8s.io"],"resources":["userextras/scopes"],"resourceNames":["view"]}]})");
  w.objects.put("clusterrolebindings.rbac.authorization.k8s.io",
                R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"imp"},
    "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"imp"},"subjects":[{"kind":"User","name":"jane"}]})");
  const auto as = [&](http::Headers headers, const char* who = "jane") {
    http::Request request;
    request.peer_certificate = http::PeerCertificate{who, {}, ""};
    request.headers = std::move(headers);
    return w.authn.identify(request);
  };
  const auto bob = as({{"Impersonate-User", "bob"}, {"Impersonate-Extra-Scopes", "view"}});
  REQUIRE(bob.has_value());
  CHECK(bob->name == "bob");
  CHECK(bob->groups == std::vector<std::string>{"system:authenticated"});
  CHECK(bob->extra[0].first == "scopes");
  CHECK(as({{"Impersonate-User", "eve"}}).error().message ==
        "users \"eve\" is forbidden: User \"jane\" cannot impersonate resource \"users\" in API group \"\" at the "
        "cluster scope");
  CHECK(as({{"Impersonate-User", "bob"}, {"Impersonate-Group", "system:masters"}}).error().code == Code::kForbidden);
  CHECK(as({{"Impersonate-User", "bob"}, {"Impersonate-Uid", "1"}}).error().code == Code::kForbidden);
  CHECK(as({{"Impersonate-User", "bob"}, {"Impersonate-Extra-Scopes", "admin"}}).error().code == Code::kForbidden);
  CHECK(as({{"Impersonate-Group", "x"}}).error().code == Code::kBadRequest);
  CHECK(as({{"Impersonate-User", "bob"}}, "mallory").error().code == Code::kForbidden);
  CHECK(as({{"Impersonate-User", "system:serviceaccount:ns:robot"}})->in_group("system:serviceaccounts:ns"));
}
