// What admission makes of writes, and the answers of reviews.
#include "../../../src/apiserver/admission.h"
#include "../../../src/apiserver/reviews.h"
#include "catch.h"
#include "sec_fixture.h"

using namespace brume;
using namespace brume::apiserver;
using namespace brume::apiserver::testing;
using Op = AdmissionRequest::Operation;

namespace {

struct World {
  FakeObjects objects;
  FakeClock clock;
  ChainAuthorizer authorizer{objects};
  AdmissionChain chain{objects, authorizer, clock, true};
  User who = user("jane");
  std::vector<std::string> warnings;

  World() {
    for (const auto* name : {"default", "ns"})
      objects.put("namespaces", Json{{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", name}}}});
    objects.put(
        "serviceaccounts",
        R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default","namespace":"ns","uid":"u"},"imagePullSecrets":[{"name":"pull"}]})");
  }

  /// "ok" or the error's text; `object` is changed.
  std::string run(Op op, const char* resource, const std::string& ns, Json* object, const Json* old = nullptr,
                  const std::string& subresource = "", const std::string& name = "") {
    last = {};
    AdmissionRequest request;
    request.operation = op;
    request.resource = &api::res(resource);
    request.subresource = subresource;
    request.ns = ns;
    request.name = name.empty() && object != nullptr && op != Op::kCreate
                       ? std::string(str(at(*object, "metadata"), "name"))
                       : name;
    request.object = object;
    request.old_object = old;
    request.user = &who;
    request.warnings = &warnings;
    if (auto status = chain.mutate_now(request); !status) return last = status.error(), last.message;
    if (auto status = chain.validate_now(request); !status) return last = status.error(), last.message;
    return "ok";
  }
  std::string create(const char* resource, Json& object, const std::string& ns = "ns") {
    return run(Op::kCreate, resource, ns, &object);
  }
  Error last;
};

Json pod(const char* extra = "{}") {
  Json out = *parse_json(R"({"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}})");
  out.merge_patch(*parse_json(extra));
  return out;
}

}  // namespace

TEST_CASE("admission: a plain pod gets what Kubernetes gives it") {
  World w;
  Json p = pod();
  REQUIRE(w.create("pods", p) == "ok");
  const Json& spec = at(p, "spec");
  CHECK(str(spec, "serviceAccountName") == "default");
  CHECK(str(spec, "serviceAccount") == "default");
  CHECK(num(spec, "priority", -1) == 0);
  CHECK(str(spec, "preemptionPolicy") == "PreemptLowerPriority");
  CHECK(at(spec, "imagePullSecrets")[0]["name"] == "pull");
  REQUIRE(at(spec, "tolerations").size() == 2);
  CHECK(
      spec["tolerations"][0] ==
      *parse_json(
          R"({"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300})"));
  REQUIRE(at(spec, "volumes").size() == 1);
  const std::string volume(str(spec["volumes"][0], "name"));
  CHECK(volume.substr(0, 16) == "kube-api-access-");
  CHECK(volume.size() == 21);
  CHECK(num(at(spec["volumes"][0], "projected", "sources")[0]["serviceAccountToken"], "expirationSeconds") == 3607);
  CHECK(spec["containers"][0]["volumeMounts"] ==
        Json::array(
            {{{"name", volume}, {"readOnly", true}, {"mountPath", "/var/run/secrets/kubernetes.io/serviceaccount"}}}));
}

TEST_CASE("admission: service accounts") {
  World w;
  Json p = pod(R"({"spec":{"serviceAccountName":"absent"}})");
  CHECK(w.create("pods", p) ==
        "pods \"p\" is forbidden: error looking up service account ns/absent: serviceaccount \"absent\" not found");
  CHECK(w.last.code == Code::kForbidden);
  p = pod(R"({"spec":{"automountServiceAccountToken":false}})");
  CHECK(w.create("pods", p) == "ok");
  CHECK_FALSE(at(p, "spec").contains("volumes"));
  w.objects.put(
      "serviceaccounts",
      R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"quiet","namespace":"ns"},"automountServiceAccountToken":false})");
  p = pod(R"({"spec":{"serviceAccountName":"quiet"}})");
  CHECK(w.create("pods", p) == "ok");
  CHECK_FALSE(at(p, "spec").contains("volumes"));
  p = pod(R"({"spec":{"serviceAccountName":"quiet","automountServiceAccountToken":true}})");
  CHECK(w.create("pods", p) == "ok");
  CHECK(at(p, "spec", "volumes").size() == 1);
  // A mount of one's own at the place stands.
  p = pod(
      R"({"spec":{"containers":[{"name":"c","volumeMounts":[{"name":"own","mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}]}]}})");
  CHECK(w.create("pods", p) == "ok");
  CHECK_FALSE(at(p, "spec").contains("volumes"));
  p = pod(
      R"({"metadata":{"annotations":{"kubernetes.io/config.mirror":"x"}},"spec":{"serviceAccountName":"default"}})");
  CHECK(w.create("pods", p) == "pods \"p\" is forbidden: a mirror pod may not reference service accounts");
}

TEST_CASE("admission: an account may bound the secrets of its pods") {
  World w;
  w.objects.put("serviceaccounts", Json{{"apiVersion", "v1"},
                                        {"kind", "ServiceAccount"},
                                        {"metadata",
                                         {{"name", "strict"},
                                          {"namespace", "ns"},
                                          {"uid", "u"},
                                          {"annotations", {{"kubernetes.io/enforce-mountable-secrets", "true"}}}}},
                                        {"secrets", Json::array({{{"name", "mine"}}})},
                                        {"imagePullSecrets", Json::array({{{"name", "pull"}}})}});
  const auto with = [&](const char* extra) {
    Json p = pod(R"({"spec":{"serviceAccountName":"strict"}})");
    p.merge_patch(*parse_json(extra));
    return w.create("pods", p);
  };
  const std::string refused = "pods \"p\" is forbidden: ";
  const std::string of_secret = " is not allowed because service account strict does not reference that secret";
  CHECK(with("{}") == "ok");
  CHECK(with(R"({"spec":{"volumes":[{"name":"v","secret":{"secretName":"mine"}}]}})") == "ok");
  CHECK(with(R"({"spec":{"volumes":[{"name":"v","secret":{"secretName":"x"}}]}})") ==
        refused + "volume with secret.secretName=\"x\"" + of_secret);
  CHECK(
      with(
          R"({"spec":{"containers":[{"name":"c","env":[{"name":"E","valueFrom":{"secretKeyRef":{"name":"x"}}}]}]}})") ==
      refused + "container c with envVar E referencing secret.secretName=\"x\"" + of_secret);
  CHECK(with(R"({"spec":{"initContainers":[{"name":"i","envFrom":[{"secretRef":{"name":"x"}}]}]}})") ==
        refused + "init container i with envFrom referencing secret.secretName=\"x\"" + of_secret);
  CHECK(with(R"({"spec":{"imagePullSecrets":[{"name":"other"}]}})") ==
        refused +
            "imagePullSecrets[0].name=\"other\" is not allowed because service account strict does not reference "
            "that imagePullSecret");
  Json debugged = pod(
      R"({"spec":{"serviceAccountName":"strict","ephemeralContainers":[{"name":"d","envFrom":[{"secretRef":{"name":"x"}}]}]}})");
  CHECK(w.run(Op::kUpdate, "pods", "ns", &debugged, &debugged, "ephemeralcontainers") ==
        refused + "ephemeral container d with envFrom referencing secret.secretName=\"x\"" + of_secret);
  Json free = pod(R"({"spec":{"volumes":[{"name":"v","secret":{"secretName":"x"}}]}})");
  CHECK(w.create("pods", free) == "ok");
}

TEST_CASE("admission: a pod gets the zone and region of its node") {
  World w;
  w.objects.put(
      "nodes",
      Json{{"apiVersion", "v1"},
           {"kind", "Node"},
           {"metadata",
            {{"name", "n1"},
             {"labels",
              {{"topology.kubernetes.io/zone", "a"}, {"topology.kubernetes.io/region", "r"}, {"other", "x"}}}}}});
  Json binding = {{"metadata", {{"name", "p"}}}, {"target", {{"kind", "Node"}, {"name", "n1"}}}};
  REQUIRE(w.run(Op::kCreate, "pods", "ns", &binding, nullptr, "binding", "p") == "ok");
  const Json labels = {{"topology.kubernetes.io/zone", "a"}, {"topology.kubernetes.io/region", "r"}};
  CHECK(at(binding, "metadata", "labels") == labels);
  Json placed = pod(R"({"spec":{"nodeName":"n1"}})");
  REQUIRE(w.create("pods", placed) == "ok");
  CHECK(at(placed, "metadata", "labels") == labels);
  Json free = pod();
  REQUIRE(w.create("pods", free) == "ok");
  CHECK(at(free, "metadata", "labels").is_null());
}

TEST_CASE("admission: an Ingress gets the default class") {
  World w;
  const auto add = [&](const char* name, const char* is_default, const char* created) {
    w.objects.put("ingressclasses.networking.k8s.io",
                  Json{{"apiVersion", "networking.k8s.io/v1"},
                       {"kind", "IngressClass"},
                       {"metadata",
                        {{"name", name},
                         {"creationTimestamp", created},
                         {"annotations", {{"ingressclass.kubernetes.io/is-default-class", is_default}}}}}});
  };
  add("old", "true", "2026-01-01T00:00:00Z");
  add("new", "true", "2026-01-02T00:00:00Z");
  add("newest", "false", "2026-01-03T00:00:00Z");
  const auto chosen = [&](const char* text) {
    Json ingress = *parse_json(text);
    CHECK(w.create("ingresses.networking.k8s.io", ingress) == "ok");
    return std::string(str(at(ingress, "spec"), "ingressClassName"));
  };
  CHECK(chosen(R"({"metadata":{"name":"i"},"spec":{}})") == "new");
  CHECK(chosen(R"({"metadata":{"name":"i"},"spec":{"ingressClassName":"own"}})") == "own");
  CHECK(chosen(R"({"metadata":{"name":"i","annotations":{"kubernetes.io/ingress.class":"x"}},"spec":{}})").empty());
}

TEST_CASE("admission: a pod waits a moment for the default account") {
  World w;
  w.objects.remove("serviceaccounts", "ns/default");
  Json p = pod();
  AdmissionRequest request;
  request.resource = &api::res("pods");
  request.ns = "ns";
  request.object = &p;
  request.user = &w.who;
  CHECK(awaits_default_account(request, w.objects));
  const auto before = w.clock.time;
  Loop loop("test");
  loop.start();
  Status status;
  loop.run_and_wait([&]() -> Task<void> { status = co_await w.chain.mutate(request); });
  CHECK_FALSE(status.has_value());
  CHECK(w.clock.time - before >= std::chrono::seconds(1));
  w.objects.put("serviceaccounts",
                R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default","namespace":"ns"}})");
  CHECK_FALSE(awaits_default_account(request, w.objects));
  loop.run_and_wait([&]() -> Task<void> { status = co_await w.chain.mutate(request); });
  CHECK(status.has_value());
  loop.stop();
}

TEST_CASE("admission: namespaces") {
  World w;
  Json map = {{"metadata", {{"name", "m"}}}};
  CHECK(w.create("configmaps", map, "nowhere") == "namespaces \"nowhere\" not found");
  CHECK(w.last.code == Code::kNotFound);
  w.objects.put(
      "namespaces",
      R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"going","deletionTimestamp":"2026-11-22T12:00:00Z"}})");
  CHECK(
      w.create("configmaps", map, "going") ==
      "configmaps \"m\" is forbidden: unable to create new content in namespace going because it is being terminated");
  REQUIRE(w.last.causes.size() == 1);
  CHECK(w.last.causes[0].reason == "NamespaceTerminating");
  CHECK(w.last.causes[0].message == "namespace going is being terminated");
  CHECK(w.last.causes[0].field == "metadata.namespace");
  CHECK(w.run(Op::kUpdate, "configmaps", "going", &map, &map) == "ok");
  CHECK(w.run(Op::kDelete, "configmaps", "going", nullptr, &map, "", "m") == "ok");
  CHECK(w.run(Op::kDelete, "namespaces", "", nullptr, &map, "", "default") ==
        "namespaces \"default\" is forbidden: this namespace may not be deleted");
  CHECK(w.run(Op::kDelete, "namespaces", "", nullptr, &map, "", "ns") == "ok");
}

TEST_CASE("admission: priority") {
  World w;
  w.objects.put(
      "priorityclasses.scheduling.k8s.io",
      R"({"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"high"},"value":1000,"preemptionPolicy":"Never"})");
  Json p = pod(R"({"spec":{"priorityClassName":"high"}})");
  CHECK(w.create("pods", p) == "ok");
  CHECK(num(at(p, "spec"), "priority") == 1000);
  CHECK(str(at(p, "spec"), "preemptionPolicy") == "Never");
  p = pod(R"({"spec":{"priorityClassName":"absent"}})");
  CHECK(w.create("pods", p) == "pods \"p\" is forbidden: no PriorityClass with name absent was found");
  p = pod(R"({"spec":{"priority":5}})");
  CHECK(w.create("pods", p) ==
        "pods \"p\" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority "
        "admission controller computed 0 from the given PriorityClass name");
  w.objects.put(
      "priorityclasses.scheduling.k8s.io",
      R"({"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"std"},"value":7,"globalDefault":true})");
  p = pod();
  CHECK(w.create("pods", p) == "ok");
  CHECK(str(at(p, "spec"), "priorityClassName") == "std");
  CHECK(num(at(p, "spec"), "priority") == 7);
  Json second = *parse_json(R"({"metadata":{"name":"std2"},"value":8,"globalDefault":true})");
  CHECK(w.create("priorityclasses.scheduling.k8s.io", second, "").find("already marked as default") !=
        std::string::npos);
  Json update = pod();
  CHECK(w.run(Op::kUpdate, "pods", "ns", &update, &p) == "ok");
  CHECK(num(at(update, "spec"), "priority") == 7);
  const auto removed = [&](const char* name) {
    return w.run(Op::kDelete, "priorityclasses.scheduling.k8s.io", "", nullptr, nullptr, "", name);
  };
  CHECK(removed("std") == "ok");
  CHECK(removed("system-node-critical") ==
        "priorityclasses.scheduling.k8s.io \"system-node-critical\" is forbidden: this is a system priority class and "
        "cannot be deleted");
}

TEST_CASE("admission: tolerations that are there stand") {
  World w;
  Json p = pod(R"({"spec":{"tolerations":[{"operator":"Exists"}]}})");
  CHECK(w.create("pods", p) == "ok");
  CHECK(at(p, "spec", "tolerations").size() == 1);
  p = pod(
      R"({"spec":{"tolerations":[{"key":"node.kubernetes.io/not-ready","effect":"NoExecute","operator":"Exists","tolerationSeconds":5}]}})");
  CHECK(w.create("pods", p) == "ok");
  CHECK(at(p, "spec", "tolerations").size() == 2);
}

TEST_CASE("admission: a node lets a volume on its own disk go, and changes nothing else of it") {
  World w;
  w.who = {.name = "system:node:n1", .uid = "", .groups = {"system:nodes"}, .extra = {}};
  const Json old = *parse_json(
      R"({"metadata":{"name":"v","labels":{"brume.dev/node":"n1"},"deletionTimestamp":"2026-01-01T00:00:00Z",
    "finalizers":["brume.dev/local-path","other"]},"spec":{"a":"b"}})");
  const auto says = [&](const std::function<void(Json & now, Json & before)>& change) {
    Json before = old;
    Json now = old;
    now["metadata"]["finalizers"] = Json::array({"other"});
    change(now, before);
    return w.run(Op::kUpdate, "persistentvolumes", "", &now, &before);
  };
  CHECK(says([](Json&, Json&) {}) == "ok");
  const std::string refused =
      "persistentvolumes \"v\" is forbidden: node \"n1\" may only let persistent volumes on its own disk go";
  CHECK(says([](Json& now, Json&) { now["spec"]["a"] = "c"; }) == refused);
  CHECK(says([](Json& now, Json&) { now["metadata"].erase("finalizers"); }) == refused);
  CHECK(says([](Json& now, Json&) { now["metadata"]["labels"]["x"] = "y"; }) == refused);
  CHECK(says([](Json& now, Json& before) {
          now["metadata"].erase("deletionTimestamp");
          before["metadata"].erase("deletionTimestamp");
        }) == refused);
  CHECK(says([](Json& now, Json& before) {
          now["metadata"]["labels"]["brume.dev/node"] = "n2";
          before["metadata"]["labels"]["brume.dev/node"] = "n2";
        }) == refused);
}

TEST_CASE("admission: storage") {
  World w;
  Json claim = *parse_json(R"({"metadata":{"name":"c"},"spec":{"resources":{"requests":{"storage":"1Gi"}}}})");
  CHECK(w.create("persistentvolumeclaims", claim) == "ok");
  CHECK_FALSE(at(claim, "spec").contains("storageClassName"));
  CHECK(at(claim, "metadata", "finalizers") == Json::array({"kubernetes.io/pvc-protection"}));
  for (
      const auto* text :
      {R"({"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","metadata":{"name":"old","creationTimestamp":"2026-01-01T00:00:00Z","annotations":{"storageclass.kubernetes.io/is-default-class":"true"}}})",
       R"({"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","allowVolumeExpansion":true,"metadata":{"name":"new","creationTimestamp":"2026-02-01T00:00:00Z","annotations":{"storageclass.kubernetes.io/is-default-class":"true"}}})"}) {
    w.objects.put("storageclasses.storage.k8s.io", text);
  }
  CHECK(w.create("persistentvolumeclaims", claim) == "ok");
  CHECK(str(at(claim, "spec"), "storageClassName") == "new");
  Json none = *parse_json(R"({"metadata":{"name":"c"},"spec":{"storageClassName":""}})");
  CHECK(w.create("persistentvolumeclaims", none) == "ok");
  CHECK(str(at(none, "spec"), "storageClassName").empty());
  claim["status"] = {{"phase", "Bound"}};
  Json larger = claim;
  larger["spec"]["resources"]["requests"]["storage"] = "2Gi";
  CHECK(w.run(Op::kUpdate, "persistentvolumeclaims", "ns", &larger, &claim) == "ok");
  claim["spec"]["storageClassName"] = "old";
  larger["spec"]["storageClassName"] = "old";
  CHECK(w.run(Op::kUpdate, "persistentvolumeclaims", "ns", &larger, &claim)
            .find("only dynamically provisioned pvc can be resized") != std::string::npos);
}

TEST_CASE("admission: a pod that is resized stays within its node and its namespace's limits") {
  World w;
  w.objects.put("nodes",
                R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"n","labels":{"kubernetes.io/os":"linux"}},
    "status":{"allocatable":{"cpu":"2","memory":"1Gi"}}})");
  const auto sized = [](const char* cpu, const char* memory, int generation, const char* node) {
    Json p = pod();
    p["metadata"]["generation"] = generation;
    p["spec"]["nodeName"] = node;
    p["spec"]["containers"][0]["resources"] = {{"requests", {{"cpu", cpu}, {"memory", memory}}}};
    return p;
  };
  const Json old = sized("1", "512Mi", 1, "n");
  const auto resize = [&](Json to) { return w.run(Op::kUpdate, "pods", "ns", &to, &old, "resize"); };
  CHECK(resize(sized("2", "1Gi", 2, "n")) == "ok");
  CHECK(resize(sized("2500m", "2Gi", 2, "n")) ==
        "pods \"p\" is forbidden: node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: "
        "2000; memory, requested: 2147483648, allocatable: 1073741824");
  REQUIRE(w.last.causes.size() == 1);
  CHECK(w.last.causes[0].reason == "NodeCapacity");
  CHECK(resize(sized("2500m", "2Gi", 1, "n")) == "ok");  // no new spec
  CHECK(resize(sized("2500m", "2Gi", 2, "")) == "ok");   // not on a node yet
  CHECK(resize(sized("1", "1Gi", 2, "gone")) == "pods \"p\" is forbidden: node \"gone\" not found");
  w.objects.put("limitranges", R"({"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"l","namespace":"ns"},
    "spec":{"limits":[{"type":"Container","max":{"cpu":"1500m"}}]}})");
  CHECK(resize(sized("2", "1Gi", 2, "n")).find("maximum cpu usage per Container is 1500m") != std::string::npos);
}

TEST_CASE("admission: runtime classes") {
  World w;
  w.objects.put(
      "runtimeclasses.node.k8s.io",
      R"({"apiVersion":"node.k8s.io/v1","kind":"RuntimeClass","metadata":{"name":"vm"},"handler":"vm","overhead":{"podFixed":{"cpu":"100m"}},
    "scheduling":{"nodeSelector":{"vm":"yes"},"tolerations":[{"key":"vm","operator":"Exists"}]}})");
  Json p = pod(R"({"spec":{"runtimeClassName":"vm"}})");
  CHECK(w.create("pods", p) == "ok");
  CHECK(str(at(p, "spec", "overhead"), "cpu") == "100m");
  CHECK(str(at(p, "spec", "nodeSelector"), "vm") == "yes");
  p = pod(R"({"spec":{"runtimeClassName":"vm","nodeSelector":{"vm":"no"}}})");
  CHECK(w.create("pods", p).find("conflict: runtimeClass.scheduling.nodeSelector[vm] = yes") != std::string::npos);
  p = pod(R"({"spec":{"runtimeClassName":"absent"}})");
  CHECK(w.create("pods", p) == "pods \"p\" is forbidden: pod rejected: RuntimeClass \"absent\" not found");
  p = pod(R"({"spec":{"overhead":{"cpu":"1"}}})");
  CHECK(w.create("pods", p) != "ok");
}

TEST_CASE("admission: limit ranges") {
  World w;
  w.objects.put("limitranges",
                R"({"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"l","namespace":"ns"},"spec":{"limits":[
    {"type":"Container","default":{"cpu":"500m"},"defaultRequest":{"cpu":"100m"},"max":{"cpu":"1"},"min":{"cpu":"50m"},"maxLimitRequestRatio":{"cpu":"10"}},
    {"type":"Pod","max":{"cpu":"1500m"}},{"type":"PersistentVolumeClaim","max":{"storage":"1Gi"}}]}})");
  Json p = pod();
  CHECK(w.create("pods", p) == "ok");
  CHECK(p["spec"]["containers"][0]["resources"] ==
        *parse_json(R"({"limits":{"cpu":"500m"},"requests":{"cpu":"100m"}})"));
  CHECK(str(at(p, "metadata", "annotations"), "kubernetes.io/limit-ranger") ==
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c");
  const auto with = [&](const char* limit, const char* request) {
    Json q = pod();
    q["spec"]["containers"][0]["resources"] = {{"limits", {{"cpu", limit}}}, {"requests", {{"cpu", request}}}};
    return w.create("pods", q);
  };
  CHECK(with("2", "500m").find("maximum cpu usage per Container is 1, but limit is 2") != std::string::npos);
  CHECK(with("100m", "20m") == "pods \"p\" is forbidden: minimum cpu usage per Container is 50m, but request is 20m");
  CHECK(with("1", "50m").find("cpu max limit to request ratio per Container is 10, but provided ratio is 20.000000") !=
        std::string::npos);
  // A ratio that is exactly the allowed one, in numbers that a double divides to more.
  w.objects.put("limitranges",
                R"({"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"r","namespace":"ns2"},"spec":{"limits":[
    {"type":"Container","maxLimitRequestRatio":{"cpu":"3"}}]}})");
  w.objects.put("namespaces", Json{{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", "ns2"}}}});
  w.objects.put("serviceaccounts", Json{{"apiVersion", "v1"},
                                        {"kind", "ServiceAccount"},
                                        {"metadata", {{"name", "default"}, {"namespace", "ns2"}, {"uid", "u"}}}});
  for (const auto& [request, limit] : {std::pair("350m", "1050m"), {"90m", "270m"}, {"700m", "2100m"}}) {
    Json q = pod();
    q["spec"]["containers"][0]["resources"] = {{"limits", {{"cpu", limit}}}, {"requests", {{"cpu", request}}}};
    CHECK(w.create("pods", q, "ns2") == "ok");
  }
  Json two = pod(
      R"({"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":"900m"},"requests":{"cpu":"900m"}}},{"name":"b","resources":{"limits":{"cpu":"900m"},"requests":{"cpu":"900m"}}}]}})");
  CHECK(w.create("pods", two).find("maximum cpu usage per Pod is 1500m, but limit is 1800m") != std::string::npos);
  Json alike = two;
  for (auto& container : alike["spec"]["containers"]) {
    container["resources"] = {{"limits", {{"cpu", "2"}}}, {"requests", {{"cpu", "1"}}}};
  }
  CHECK(w.create("pods", alike) ==
        "pods \"p\" is forbidden: [maximum cpu usage per Container is 1, but limit is 2, maximum cpu usage per Pod is "
        "1500m, but limit is 4]");
  Json claim = *parse_json(R"({"metadata":{"name":"c"},"spec":{"resources":{"requests":{"storage":"2Gi"}}}})");
  CHECK(w.create("persistentvolumeclaims", claim)
            .find("maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi") != std::string::npos);
}

TEST_CASE("admission: what a node may not write") {
  World w;
  w.who = node("n1");
  w.objects.put("nodes", R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"n1","uid":"node-uid"}})");
  Json n = *parse_json(R"({"metadata":{"name":"n1","labels":{"kubernetes.io/hostname":"n1","mine":"1"}},"spec":{}})");
  CHECK(w.create("nodes", n, "") == "ok");
  CHECK(n["spec"]["taints"] == *parse_json(R"([{"key":"node.kubernetes.io/not-ready","effect":"NoSchedule"}])"));
  Json other = *parse_json(R"({"metadata":{"name":"n2"},"spec":{}})");
  CHECK(w.create("nodes", other, "") == "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\"");
  for (const auto* label : {"node-restriction.kubernetes.io/x", "node-role.kubernetes.io/control-plane",
                            "a.node-restriction.kubernetes.io/y"}) {
    Json bad = n;
    bad["metadata"]["labels"][label] = "1";
    CHECK(w.run(Op::kUpdate, "nodes", "", &bad, &n) ==
          std::string("nodes \"n1\" is forbidden: is not allowed to modify labels: ") + label);
  }
  Json untainted = n;
  untainted["spec"].erase("taints");
  CHECK(w.run(Op::kUpdate, "nodes", "", &untainted, &n).find("not allowed to modify taints") != std::string::npos);
  Json p = pod();
  CHECK(w.create("pods", p).find("can only create mirror pods") != std::string::npos);
  p = pod(
      R"({"metadata":{"annotations":{"kubernetes.io/config.mirror":"x"},"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n1","uid":"node-uid","controller":true}]},"spec":{"nodeName":"n1"}})");
  CHECK(w.create("pods", p) == "ok");
  p["metadata"]["ownerReferences"][0]["uid"] = "else";
  CHECK(w.create("pods", p).find("UID mismatch") != std::string::npos);
  const Json mine = pod(R"({"spec":{"nodeName":"n1"}})");
  const Json theirs = pod(R"({"spec":{"nodeName":"n2"}})");
  Json status = mine;
  CHECK(w.run(Op::kUpdate, "pods", "ns", &status, &mine, "status") == "ok");
  CHECK(w.run(Op::kUpdate, "pods", "ns", &status, &theirs, "status") ==
        "pods \"p\" is forbidden: node \"n1\" can only update pod status for pods with spec.nodeName set to itself");
  CHECK(w.run(Op::kDelete, "pods", "ns", nullptr, &theirs, "", "p")
            .find("can only delete pods with spec.nodeName set to itself") != std::string::npos);
  CHECK(w.run(Op::kDelete, "pods", "ns", nullptr, &mine, "", "p") == "ok");
  Json lease = *parse_json(R"({"metadata":{"name":"n2"}})");
  w.objects.put("namespaces", R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"kube-node-lease"}})");
  CHECK(w.create("leases.coordination.k8s.io", lease, "kube-node-lease") != "ok");
  lease["metadata"]["name"] = "n1";
  CHECK(w.create("leases.coordination.k8s.io", lease, "kube-node-lease") == "ok");
}

TEST_CASE("admission: pod security") {
  World w;
  const auto label = [&](const char* labels) {
    w.objects.put("namespaces", Json{{"apiVersion", "v1"},
                                     {"kind", "Namespace"},
                                     {"metadata", {{"name", "ns"}, {"labels", *parse_json(labels)}}}});
  };
  const char* good =
      R"({"metadata":{"name":"p"},"spec":{"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},
    "containers":[{"name":"c","securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}})";
  Json p = pod(R"({"spec":{"hostNetwork":true,"containers":[{"name":"c","securityContext":{"privileged":true}}]}})");
  CHECK(w.create("pods", p) == "ok");
  label(R"({"pod-security.kubernetes.io/enforce":"baseline","pod-security.kubernetes.io/warn":"restricted"})");
  CHECK(w.create("pods", p) ==
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true), "
        "privileged (container \"c\" must not set securityContext.privileged=true)");
  w.warnings.clear();
  p = pod();
  CHECK(w.create("pods", p) == "ok");
  REQUIRE(w.warnings.size() == 1);
  CHECK(w.warnings[0] ==
        "would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"c\" must set "
        "securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set "
        "securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set "
        "securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set "
        "securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")");
  w.warnings.clear();
  Json deployment = {{"metadata", {{"name", "d"}}}, {"spec", {{"template", pod()}}}};
  CHECK(w.create("deployments.apps", deployment) == "ok");
  CHECK(w.warnings.size() == 1);
  label(R"({"pod-security.kubernetes.io/enforce":"restricted","pod-security.kubernetes.io/enforce-version":"v1.36"})");
  p = *parse_json(good);
  CHECK(w.create("pods", p) == "ok");
  for (const auto* bad : {R"({"spec":{"volumes":[{"name":"v","nfs":{"server":"s"}}]}})",
                          R"({"spec":{"securityContext":{"runAsUser":0}}})", R"({"spec":{"hostPID":true}})",
                          R"({"spec":{"securityContext":{"sysctls":[{"name":"kernel.msgmax","value":"1"}]}}})",
                          R"({"spec":{"securityContext":{"seccompProfile":{"type":"Unconfined"}}}})",
                          R"({"spec":{"securityContext":{"seLinuxOptions":{"type":"spc_t"}}}})",
                          R"({"spec":{"initContainers":[{"name":"i"}]}})"}) {
    INFO(bad);
    p = *parse_json(good);
    p.merge_patch(*parse_json(bad));
    CHECK(w.create("pods", p).find("violates PodSecurity \"restricted:v1.36\"") != std::string::npos);
  }
  label(R"({"pod-security.kubernetes.io/enforce":"restrictde"})");
  p = pod();
  CHECK(w.create("pods", p) != "ok");  // a typing error closes, it does not open
}

TEST_CASE("admission: pod security by version of the standards") {
  World w;
  const auto allowed = [&](const char* level, const char* version, const char* spec) {
    w.objects.put("namespaces", Json{{"apiVersion", "v1"},
                                     {"kind", "Namespace"},
                                     {"metadata",
                                      {{"name", "ns"},
                                       {"labels",
                                        {{"pod-security.kubernetes.io/enforce", level},
                                         {"pod-security.kubernetes.io/enforce-version", version}}}}}});
    Json p = pod();
    p["spec"].merge_patch(*parse_json(spec));
    const std::string answer = w.create("pods", p);
    if (answer != "ok") CHECK(answer.find(std::string(level) + ":" + version) != std::string::npos);
    return answer == "ok";
  };
  const char* tcp = R"({"securityContext":{"sysctls":[{"name":"net.ipv4.tcp_rmem","value":"1"}]}})";
  CHECK_FALSE(allowed("baseline", "v1.31", tcp));
  CHECK(allowed("baseline", "v1.32", tcp));
  CHECK(allowed("baseline", "latest", tcp));
  CHECK(allowed("baseline", "v1.99", tcp));
  const char* engine = R"({"securityContext":{"seLinuxOptions":{"type":"container_engine_t"}}})";
  CHECK_FALSE(allowed("baseline", "v1.30", engine));
  CHECK(allowed("baseline", "v1.31", engine));
  const char* probe = R"({"containers":[{"name":"c","livenessProbe":{"httpGet":{"host":"a.b"}}}]})";
  CHECK(allowed("baseline", "v1.33", probe));
  CHECK_FALSE(allowed("baseline", "v1.34", probe));
  const char* mount = R"({"hostUsers":false,"containers":[{"name":"c","securityContext":{"procMount":"Unmasked"}}]})";
  CHECK_FALSE(allowed("baseline", "v1.34", mount));
  CHECK(allowed("baseline", "v1.35", mount));
  const char* bare = R"({"securityContext":{"runAsNonRoot":true}})";
  CHECK(allowed("restricted", "v1.0", bare));  // before the fields were
  CHECK_FALSE(allowed("restricted", "v1.8", bare));
  const char* user =
      R"({"securityContext":{"runAsNonRoot":true,"runAsUser":0,"seccompProfile":{"type":"RuntimeDefault"}},
    "containers":[{"name":"c","securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]})";
  CHECK(allowed("restricted", "v1.22", user));
  CHECK_FALSE(allowed("restricted", "v1.23", user));
  const char* windows = R"({"os":{"name":"windows"},"securityContext":{"runAsNonRoot":true}})";
  CHECK_FALSE(allowed("restricted", "v1.24", windows));
  CHECK(allowed("restricted", "v1.25", windows));
}

TEST_CASE("admission: a namespace's pod security labels") {
  World w;
  const auto space = [](const char* labels) {
    return Json{
        {"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", "ns"}, {"labels", *parse_json(labels)}}}};
  };
  Json bad =
      space(R"({"pod-security.kubernetes.io/enforce":"strict","pod-security.kubernetes.io/warn-version":"1.2"})");
  CHECK(w.create("namespaces", bad, "ns")
            .find("metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "
                  "\"strict\": must be one of privileged, baseline, restricted") != std::string::npos);
  Json relabeled = bad;
  relabeled["metadata"]["labels"]["a"] = "b";
  CHECK(w.run(Op::kUpdate, "namespaces", "ns", &relabeled, &bad) == "ok");  // the fault is old

  for (const char* name : {"a1", "a2", "a3"}) {
    Json p = pod(R"({"spec":{"hostPID":true}})");
    p["metadata"]["name"] = name;
    p["metadata"]["namespace"] = "ns";
    p["apiVersion"] = "v1";
    p["kind"] = "Pod";
    w.objects.put("pods", p);
  }
  const Json old = space("{}");
  Json raised = space(R"({"pod-security.kubernetes.io/enforce":"baseline"})");
  w.warnings.clear();
  CHECK(w.run(Op::kUpdate, "namespaces", "ns", &raised, &old, "", "ns") == "ok");
  CHECK(w.warnings ==
        std::vector<std::string>{
            "existing pods in namespace \"ns\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a1 (and 2 other pods): host namespaces"});
  // What is enforced is told of workloads, too.
  w.objects.put("namespaces", raised);
  w.warnings.clear();
  Json deployment = {{"metadata", {{"name", "d"}}}, {"spec", {{"template", pod(R"({"spec":{"hostIPC":true}})")}}}};
  CHECK(w.create("deployments.apps", deployment) == "ok");
  CHECK(w.warnings ==
        std::vector<std::string>{"would violate PodSecurity \"baseline:latest\": host namespaces (hostIPC=true)"});
}

TEST_CASE("reviews: access, rules, tokens") {
  World w;
  w.objects.put_defaults();
  const PrivateKey key = *PrivateKey::generate();
  const ServiceAccountTokens tokens(key, {.issuer = "iss", .api_audiences = {"iss"}}, w.objects, w.clock);
  const ChainAuthenticator authn(tokens, w.authorizer, "", true);
  const ReviewService reviews(authn, w.authorizer, tokens, w.objects);
  const auto ask = [&](const char* resource, const char* spec, User who = user("jane"), const std::string& ns = "") {
    return reviews.answer(api::res(resource), "", ns, "", Json{{"kind", "X"}, {"spec", *parse_json(spec)}}, who);
  };
  CHECK(reviews.handles(api::res("serviceaccounts"), "token"));
  CHECK_FALSE(reviews.handles(api::res("serviceaccounts"), ""));
  CHECK(reviews.handles(api::res("tokenreviews.authentication.k8s.io"), ""));
  CHECK_FALSE(reviews.handles(api::res("pods"), ""));
  const auto self = ask("selfsubjectaccessreviews.authorization.k8s.io",
                        R"({"resourceAttributes":{"verb":"list","resource":"pods","namespace":"ns"}})");
  CHECK_FALSE(flag(at(*self, "status"), "allowed", true));
  CHECK(str(*self, "kind") == "SelfSubjectAccessReview");
  const auto root = ask("selfsubjectaccessreviews.authorization.k8s.io",
                        R"({"nonResourceAttributes":{"verb":"get","path":"/metrics"}})", user("r", {"system:masters"}));
  CHECK(flag(at(*root, "status"), "allowed"));
  const auto other =
      ask("subjectaccessreviews.authorization.k8s.io",
          R"({"user":"x","groups":["system:masters"],"resourceAttributes":{"verb":"get","resource":"nodes"}})");
  CHECK(flag(at(*other, "status"), "allowed"));
  CHECK(ask("subjectaccessreviews.authorization.k8s.io", R"({"user":"x"})").error().code == Code::kInvalid);
  CHECK(ask("subjectaccessreviews.authorization.k8s.io", R"({"resourceAttributes":{"verb":"get"}})")
            .error()
            .causes[0]
            .field == "spec.user");
  CHECK(ask("localsubjectaccessreviews.authorization.k8s.io", R"({"user":"x","resourceAttributes":{"namespace":"b"}})",
            user("jane"), "a")
            .error()
            .code == Code::kBadRequest);
  const auto rules = ask("selfsubjectrulesreviews.authorization.k8s.io", R"({"namespace":"ns"})");
  CHECK_FALSE(at(*rules, "status", "resourceRules").empty());
  CHECK_FALSE(at(*rules, "status", "nonResourceRules").empty());
  CHECK_FALSE(flag(at(*rules, "status"), "incomplete", true));
  const auto me = ask("selfsubjectreviews.authentication.k8s.io", "{}");
  CHECK(str(at(*me, "status", "userInfo"), "username") == "jane");

  const auto made = reviews.answer(api::res("serviceaccounts"), "token", "ns", "default", Json::object(), user("root"));
  REQUIRE(made.has_value());
  const std::string token(str(at(*made, "status"), "token"));
  const auto good = ask("tokenreviews.authentication.k8s.io", (R"({"token":")" + token + "\"}").c_str());
  CHECK(flag(at(*good, "status"), "authenticated"));
  CHECK(str(at(*good, "status", "user"), "username") == "system:serviceaccount:ns:default");
  CHECK(at(*good, "status", "audiences") == Json::array({"iss"}));
  const auto bad = ask("tokenreviews.authentication.k8s.io", R"({"token":"x"})");
  CHECK_FALSE(flag(at(*bad, "status"), "authenticated"));
  CHECK_FALSE(str(at(*bad, "status"), "error").empty());
  CHECK(ask("tokenreviews.authentication.k8s.io", "{}").error().code == Code::kBadRequest);

  // A node gets tokens for pods that run on it, bound to them, and no others.
  w.objects.put(
      "pods",
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"ns","uid":"pu"},"spec":{"nodeName":"n1","serviceAccountName":"default"}})");
  const auto node_asks = [&](const char* name, const char* spec) {
    const auto result = reviews.answer(api::res("serviceaccounts"), "token", "ns", "default",
                                       Json{{"spec", *parse_json(spec)}}, node(name));
    return result ? std::string("ok") : result.error().message;
  };
  const char* bound = R"({"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"p","uid":"pu"}})";
  CHECK(node_asks("n1", bound) == "ok");
  CHECK(node_asks("n2", bound).find("different node") != std::string::npos);
  CHECK(node_asks("n1", "{}").find("not bound to a pod") != std::string::npos);
  CHECK(node_asks("n1", R"({"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"p"}})").find("without a uid") !=
        std::string::npos);
  CHECK(node_asks("n1",
                  R"({"audiences":["vault"],"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"p","uid":"pu"}})")
            .find("vault") != std::string::npos);
}
