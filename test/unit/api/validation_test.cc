#include "validation_fixture.h"

using namespace brume;
using namespace brume::api;

namespace {

constexpr const char* kConfigMap = R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"n"}})";
constexpr const char* kPod = R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"n","uid":"u"},
  "spec":{"containers":[{"name":"c","image":"i"}]}})";
constexpr const char* kService = R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"a","namespace":"n"},
  "spec":{"ports":[{"port":80}],"selector":{"app":"a"},"clusterIP":"10.43.0.5","clusterIPs":["10.43.0.5"],
  "ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack"}})";

// A container list of one, with more members.
std::string container(const std::string& members) {
  return R"({"spec":{"containers":[{"name":"c","image":"i",)" + members + "}]}}";
}

std::vector<std::string> pod_faults(const std::string& patch) {
  const Resource& pods = res("pods");
  return lines(validate_create(pods, made(pods, kPod, patch)));
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("metadata is checked for every kind") {
  const std::string subdomain =
      "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
      "and end "
      "with an alphanumeric character (e.g. 'example.com', regex used for validation is "
      "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
  check_all(
      "configmaps", kConfigMap,
      {{R"({"metadata":{"name":"A_b"}})", {"metadata.name: Invalid value: \"A_b\": " + subdomain}},
       {R"({"metadata":{"name":null}})", {"metadata.name: Required value: name or generateName is required"}},
       {R"({"metadata":{"name":"x-1","generateName":"x-"}})", {}},
       {R"({"metadata":{"namespace":null}})", {"metadata.namespace: Required value"}},
       {R"({"metadata":{"labels":{"a":"b c"}}})",
        {"metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric "
         "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or "
         "'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"}},
       {R"({"metadata":{"labels":{"/x":"b"}}})",
        {"metadata.labels: Invalid value: \"/x\": prefix part must be non-empty"}},
       {R"({"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"p"}]}})",
        {"metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"}},
       {R"({"metadata":{"finalizers":["orphan","foregroundDeletion"]}})",
        {"metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and "
         "foregroundDeletion cannot be both set"}}});
  const Resource& maps = res("configmaps");
  Json big = made(maps, kConfigMap, "{}");
  big["metadata"]["annotations"]["a"] = std::string(256 * 1024, 'x');
  CHECK(lines(validate_create(maps, big)) ==
        Lines{"metadata.annotations: Too long: may not be more than 262144 bytes"});
}

TEST_CASE("identity does not change") {
  check_updates(
      "configmaps",
      R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"n","uid":"u",
                    "finalizers":["x/y"],"deletionTimestamp":"2026-01-01T00:00:00Z"}})",
      {{R"({})", {}},
       {R"({"metadata":{"name":"b"}})", {"metadata.name: Invalid value: \"b\": field is immutable"}},
       {R"({"metadata":{"uid":"v"}})", {"metadata.uid: Invalid value: \"v\": field is immutable"}},
       {R"({"metadata":{"deletionTimestamp":null}})",
        {"metadata.deletionTimestamp: Invalid value: null: field is immutable"}},
       {R"({"metadata":{"finalizers":["x/y","x/z"]}})",
        {"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found "
         "new finalizers []string{\"x/z\"}"}}});
}

TEST_CASE("the whole error reads as Kubernetes' does") {
  const Resource& deployments = res("deployments.apps");
  const Error one = invalid_error(deployments, "x", {{"FieldValueRequired", "Required value", "spec.selector"}});
  CHECK(one.code == Code::kInvalid);
  CHECK(one.message == R"(Deployment.apps "x" is invalid: spec.selector: Required value)");
  REQUIRE(one.causes.size() == 1);
  CHECK(one.causes[0].reason == "FieldValueRequired");
  const Error two = invalid_error(res("pods"), "p", {{"a", "m1", "f1"}, {"b", "m2", "f2"}, {"b", "m2", "f2"}});
  CHECK(two.message == R"(Pod "p" is invalid: [f1: m1, f2: m2])");
  CHECK(two.causes.size() == 3);
}

TEST_CASE("config maps and secrets") {
  check_all("configmaps", kConfigMap,
            {{R"({"data":{"a":"1"},"binaryData":{"a":"AA=="}})",
              {"data[a]: Invalid value: \"a\": duplicate of key present in binaryData"}},
             {R"({"data":{"..":"1"}})", {"data[..]: Invalid value: \"..\": must not be '..'"}}});
  const Resource& maps = res("configmaps");
  Json big = made(maps, kConfigMap, "{}");
  big["data"]["a"] = std::string(1024 * 1024 + 1, 'x');
  CHECK(lines(validate_create(maps, big)) == Lines{": Too long: may not be more than 1048576 bytes"});

  check_updates("configmaps",
                R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"n"},"immutable":true,
                    "data":{"a":"1"}})",
                {{R"({"data":{"a":"2"}})", {"data: Forbidden: field is immutable when `immutable` is set"}},
                 {R"({"immutable":null})", {"immutable: Forbidden: field is immutable when `immutable` is set"}}});

  constexpr const char* kSecret = R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","namespace":"n"}})";
  check_all(
      "secrets", kSecret,
      {{R"({"type":"kubernetes.io/tls","data":{"tls.crt":""}})", {"data[tls.key]: Required value"}},
       {R"({"type":"kubernetes.io/dockerconfigjson"})", {"data[.dockerconfigjson]: Required value"}},
       {R"({"type":"kubernetes.io/dockerconfigjson","data":{".dockerconfigjson":""}})",
        {"data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": unexpected end of JSON input"}},
       {R"({"type":"kubernetes.io/basic-auth"})", {"data[username]: Required value", "data[password]: Required value"}},
       {R"({"type":"kubernetes.io/service-account-token"})",
        {"metadata.annotations[kubernetes.io/service-account.name]: Required value"}}});
  check_updates("secrets", kSecret,
                {{R"({"type":"kubernetes.io/tls","data":{"tls.crt":"","tls.key":""}})",
                  {"type: Invalid value: \"kubernetes.io/tls\": field is immutable"}}});
}

TEST_CASE("services") {
  check_all(
      "services", kService,
      {{R"({"spec":{"ports":[]}})", {"spec.ports: Required value"}},
       {R"({"spec":{"ports":[{"port":80},{"port":81}]}})",
        {"spec.ports[0].name: Required value", "spec.ports[1].name: Required value"}},
       {R"({"spec":{"ports":[{"port":0}]}})",
        {"spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
         "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive"}},
       {R"({"spec":{"ports":[{"port":80,"nodePort":30000}]}})",
        {"spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"}},
       {R"({"spec":{"type":"Bogus"}})",
        {R"(spec.type: Unsupported value: "Bogus": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort")"}},
       {R"({"spec":{"type":"ExternalName","clusterIP":null,"clusterIPs":null,"ipFamilies":null,"ipFamilyPolicy":null,
                 "internalTrafficPolicy":null}})",
        {"spec.externalName: Required value"}},
       {R"({"spec":{"clusterIP":"10.43.0.999","clusterIPs":["10.43.0.999"]}})",
        {"spec.clusterIPs[0]: Invalid value: \"10.43.0.999\": must be a valid IP address, (e.g. 10.9.8.7 or "
         "2001:db8::ffff)"}},
       {R"({"spec":{"clusterIPs":["10.43.0.6"]}})",
        {"spec.clusterIPs: Invalid value: [\"10.43.0.6\"]: first value must match `clusterIP`"}},
       {R"({"spec":{"externalIPs":["127.0.0.1"],"externalTrafficPolicy":"Cluster"}})",
        {"spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)"}},
       {R"({"spec":{"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":90000}}}})",
        {"spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: must be greater than 0 and less "
         "than 86400"}}});
  check_updates("services", kService,
                {{R"({"spec":{"clusterIP":"10.43.0.6","clusterIPs":["10.43.0.6"]}})",
                  {"spec.clusterIPs[0]: Invalid value: [\"10.43.0.6\"]: may not change once set"}},
                 {R"({"spec":{"clusterIP":"","clusterIPs":[]}})",
                  {"spec.clusterIPs[0]: Invalid value: []: primary clusterIP can not be unset"}}});
}

TEST_CASE("addresses and ranges of services") {
  constexpr const char* kAddress = R"({"apiVersion":"networking.k8s.io/v1","kind":"IPAddress",
    "metadata":{"name":"2001:db8::1"},"spec":{"parentRef":{"resource":"services","namespace":"n","name":"a"}}})";
  check_all("ipaddresses.networking.k8s.io", kAddress,
            {{R"({"metadata":{"name":"10.43.0.9"}})", {}},
             {R"({"metadata":{"name":"2001:DB8::1"}})",
              {R"(metadata.name: Invalid value: "2001:DB8::1": must be in canonical form ("2001:db8::1"))"}},
             {R"({"metadata":{"name":"web"}})",
              {"metadata.name: Invalid value: \"web\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"}},
             {R"({"spec":{"parentRef":null}})", {"spec.parentRef: Required value"}},
             {R"({"spec":{"parentRef":{"resource":"","name":"a/b"}}})",
              {"spec.parentRef.resource: Required value",
               "spec.parentRef.name: Invalid value: \"a/b\": may not contain '/'"}}});
  check_updates("ipaddresses.networking.k8s.io", kAddress,
                {{R"({"metadata":{"labels":{"a":"b"}}})", {}},
                 {R"({"spec":{"parentRef":{"name":"b"}}})",
                  {"spec.parentRef: Invalid value: {\"name\":\"b\",\"namespace\":\"n\",\"resource\":\"services\"}: "
                   "field is immutable"}}});
  constexpr const char* kRange = R"({"apiVersion":"networking.k8s.io/v1","kind":"ServiceCIDR",
    "metadata":{"name":"more"},"spec":{"cidrs":["10.50.0.0/24"]}})";
  check_all(
      "servicecidrs.networking.k8s.io", kRange,
      {{R"({"spec":{"cidrs":["10.50.0.0/24","2001:db8::/64"]}})", {}},
       {R"({"spec":{"cidrs":[]}})", {"spec.cidrs: Required value: at least one CIDR required"}},
       {R"({"spec":{"cidrs":["10.50.0.0/24","10.51.0.0/24"]}})",
        {R"(spec.cidrs: Invalid value: ["10.50.0.0/24","10.51.0.0/24"]: may specify no more than one IP for each IP )"
         "family, i.e 192.168.0.0/24 and 2001:db8::/64"}}});
  check_updates("servicecidrs.networking.k8s.io", kRange,
                {{R"({"spec":{"cidrs":["10.50.0.0/24","2001:db8::/64"]}})", {}},
                 {R"({"spec":{"cidrs":["10.51.0.0/24"]}})",
                  {"spec.cidrs[0]: Invalid value: \"10.51.0.0/24\": field is immutable"}}});
}

TEST_CASE("containers") {
  check_all(
      "pods", kPod,
      {{R"({"spec":{"containers":[]}})", {"spec.containers: Required value"}},
       {R"({"spec":{"containers":[{"name":"c"}]}})", {"spec.containers[0].image: Required value"}},
       {R"({"spec":{"containers":[{"name":"c","image":" i"}]}})",
        {"spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace"}},
       {R"({"spec":{"containers":[{"name":"c","image":"i"},{"name":"c","image":"i"}]}})",
        {"spec.containers[1].name: Duplicate value: \"c\""}},
       {R"({"spec":{"initContainers":[{"name":"c","image":"i"}]}})",
        {"spec.initContainers[0].name: Duplicate value: \"c\""}},
       {R"({"spec":{"restartPolicy":"Sometimes"}})",
        {R"(spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never")"}}});
  CHECK(pod_faults(container(R"("ports":[{"containerPort":80,"hostPort":80},{"containerPort":81,"hostPort":80}])")) ==
        Lines{"spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//80\""});
  CHECK(
      pod_faults(container(R"("imagePullPolicy":"Maybe")")) ==
      Lines{
          R"(spec.containers[0].imagePullPolicy: Unsupported value: "Maybe": supported values: "Always", "IfNotPresent", "Never")"});
  CHECK(pod_faults(container(R"("env":[{"name":"a=b"}])")) ==
        Lines{"spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist "
              "only of "
              "printable ASCII characters other than '='"});
  CHECK(
      pod_faults(
          container(R"("env":[{"name":"A","value":"x","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}])")) ==
      Lines{
          "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"});
  CHECK(
      pod_faults(container(R"("env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"status.phase"}}}])")) ==
      Lines{
          R"(spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "status.phase": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs")"});
  CHECK(pod_faults(container(R"("env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['a']"}}}])"))
            .empty());
  CHECK(pod_faults(container(R"("env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"spec.bogus"}}}])")) ==
        Lines{"spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.bogus\": error converting "
              "fieldPath: field label not supported: spec.bogus"});
  CHECK(pod_faults(container(R"("livenessProbe":{"httpGet":{"port":"http","path":"/"},"tcpSocket":{"port":1}})")) ==
        Lines{"spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"});
  CHECK(pod_faults(container(R"("livenessProbe":{"exec":{"command":["a"]},"successThreshold":2})")) ==
        Lines{"spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"});
  CHECK(pod_faults(container(R"("lifecycle":{"preStop":{"sleep":{"seconds":31}}})")) ==
        Lines{"spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than "
              "terminationGracePeriodSeconds (30)"});
  CHECK(pod_faults(container(R"("securityContext":{"runAsUser":-1})")) ==
        Lines{"spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, "
              "inclusive"});
  CHECK(
      pod_faults(container(R"("securityContext":{"procMount":"Unmasked"})")) ==
      Lines{
          "spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use "
          "`Unmasked`"});
}

TEST_CASE("resources") {
  CHECK(
      pod_faults(container(R"("resources":{"requests":{"cpu":"2"},"limits":{"cpu":"1"}})")) ==
      Lines{
          "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"});
  CHECK(pod_faults(container(R"("resources":{"limits":{"cpu":"-1"},"requests":{"cpu":"-1"}})")) ==
        Lines{"spec.containers[0].resources.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
              "spec.containers[0].resources.requests[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"});
  CHECK(pod_faults(container(
            R"("resources":{"requests":{"example.com/gpu":"1500m"},"limits":{"example.com/gpu":"1500m"}})")) ==
        Lines{"spec.containers[0].resources.limits[example.com/gpu]: Invalid value: \"1500m\": must be an integer",
              "spec.containers[0].resources.requests[example.com/gpu]: Invalid value: \"1500m\": must be an integer"});
  CHECK(
      pod_faults(container(R"("resources":{"requests":{"example.com/gpu":"1"},"limits":{"example.com/gpu":"2"}})")) ==
      Lines{
          "spec.containers[0].resources.requests: Invalid value: \"1\": must be equal to example.com/gpu limit of 2"});
  CHECK(pod_faults(container(R"("resources":{"limits":{"pears":"1"},"requests":{"pears":"1"}})")).size() == 4);
  CHECK(pod_faults(container(R"("resources":{"limits":{"hugepages-2Mi":"2Mi"},"requests":{"hugepages-2Mi":"2Mi"}})")) ==
        Lines{"spec.containers[0].resources: Forbidden: HugePages require cpu or memory"});
}

TEST_CASE("volumes and mounts") {
  const auto with_volume = [](const std::string& volume, const std::string& mount) {
    return R"({"spec":{"volumes":[)" + volume + R"(],"containers":[{"name":"c","image":"i","volumeMounts":[)" + mount +
           "]}]}}";
  };
  CHECK(pod_faults(with_volume(R"({"name":"v","emptyDir":{}})", R"({"name":"v","mountPath":"/a"})")).empty());
  CHECK(pod_faults(with_volume(R"({"name":"v","emptyDir":{},"hostPath":{"path":"/x"}})", "")) ==
        Lines{"spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"});
  CHECK(pod_faults(with_volume(R"({"name":"v","emptyDir":{}})", R"({"name":"w","mountPath":"/a"})")) ==
        Lines{"spec.containers[0].volumeMounts[0].name: Not found: \"w\""});
  CHECK(pod_faults(with_volume(R"({"name":"v","emptyDir":{}})",
                               R"({"name":"v","mountPath":"/a"},{"name":"v","mountPath":"/a"})")) ==
        Lines{"spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique"});
  CHECK(pod_faults(with_volume(R"({"name":"v","emptyDir":{}})", R"({"name":"v","mountPath":"/a","subPath":"../x"})")) ==
        Lines{"spec.containers[0].volumeMounts.subPath: Invalid value: \"../x\": must not contain '..'"});
  CHECK(pod_faults(with_volume(R"({"name":"v","hostPath":{"path":"/a/../b"}})", "")) ==
        Lines{"spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"});
  CHECK(pod_faults(with_volume(
            R"({"name":"v","configMap":{"name":"m","defaultMode":512,"items":[{"key":"k","path":"/p"}]}})", "")) ==
        Lines{"spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), "
              "both "
              "inclusive",
              "spec.volumes[0].configMap.items[0].path: Invalid value: \"/p\": must be a relative path"});
  CHECK(pod_faults(with_volume(R"({"name":"v","emptyDir":{}},{"name":"v","emptyDir":{}})", "")) ==
        Lines{"spec.volumes[1].name: Duplicate value: \"v\""});
}

TEST_CASE("scheduling") {
  check_all(
      "pods", kPod,
      {{R"({"spec":{"tolerations":[{"operator":"Equal","value":"x"}]}})",
        {"spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which "
         "means \"match all values and all keys\""}},
       {R"({"spec":{"tolerations":[{"key":"a","operator":"Exists","effect":"NoSchedule","tolerationSeconds":5}]}})",
        {"spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when "
         "`tolerationSeconds` is set"}},
       {R"({"spec":{"topologySpreadConstraints":[{"maxSkew":0,"topologyKey":"z","whenUnsatisfiable":"DoNotSchedule"}]}})",
        {"spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"}},
       {R"({"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{}}}}})",
        {"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: "
         "must have at least one node selector term"}},
       {R"({"spec":{"affinity":{"podAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":0,
                 "podAffinityTerm":{"topologyKey":"a"}}]}}}})",
        {"spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must "
         "be in the range 1-100"}},
       {R"({"spec":{"dnsPolicy":"None"}})",
        {"spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"}},
       {R"({"spec":{"hostAliases":[{"ip":"1.2.3","hostnames":["a"]}]}})",
        {"spec.hostAliases[0].ip: Invalid value: \"1.2.3\": must be a valid IP address, (e.g. 10.9.8.7 or "
         "2001:db8::ffff)"}},
       {R"({"spec":{"hostUsers":false,"hostPID":true}})", {"spec.HostPID: Forbidden: when `hostUsers` is false"}},
       {R"({"spec":{"activeDeadlineSeconds":0}})",
        {"spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"}},
       {R"({"spec":{"os":{"name":"plan9"}}})",
        {R"(spec.os: Unsupported value: "plan9": supported values: "linux", "windows")"}},
       {R"({"spec":{"ephemeralContainers":[{"name":"e","image":"i"}]}})",
        {"spec.ephemeralContainers: Forbidden: cannot be set on create"}}});
}

TEST_CASE("a pod keeps its spec") {
  constexpr const char* kRunning = R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"n"},
    "spec":{"containers":[{"name":"c","image":"i"}],"activeDeadlineSeconds":60,
    "tolerations":[{"key":"a","operator":"Exists"}]}})";
  check_updates(
      "pods", kRunning,
      {{R"({"spec":{"containers":[{"name":"c","image":"j"}]}})", {}},
       {R"({"spec":{"activeDeadlineSeconds":30}})", {}},
       {R"({"spec":{"tolerations":[{"key":"a","operator":"Exists"},{"key":"b","operator":"Exists"}]}})", {}},
       {R"({"spec":{"tolerations":[]}})",
        {"spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"}},
       {R"({"spec":{"activeDeadlineSeconds":90}})",
        {"spec.activeDeadlineSeconds: Invalid value: 90: must be less than or equal to previous value"}},
       {R"({"spec":{"containers":[{"name":"c","image":"i"},{"name":"d","image":"i"}]}})",
        {"spec.containers: Forbidden: pod updates may not add or remove containers"}},
       {R"({"spec":{"schedulingGates":[{"name":"g"}]}})",
        {"spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"}}});
  const Resource& pods = res("pods");
  const Json old = made(pods, kRunning, "{}");
  const auto causes = validate_update(pods, made(pods, kRunning, R"({"spec":{"hostNetwork":true}})"), old);
  REQUIRE(causes.size() == 1);
  CHECK(causes[0].reason == "FieldValueForbidden");
  CHECK(causes[0].message.starts_with(
      "Forbidden: pod updates may not change fields other than "
      "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
      "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
      "previously negative)\n"));
  CHECK(causes[0].message.find("+\thostNetwork: true") != std::string::npos);

  SECTION("sub-resources may change their part") {
    const Json debug = made(pods, kRunning, R"({"spec":{"ephemeralContainers":[{"name":"e","image":"i"}]}})");
    CHECK(lines(validate_update(pods, debug, old)).size() == 1);
    CHECK(lines(validate_update(pods, debug, old, "ephemeralcontainers")) == Lines());
    CHECK(lines(validate_update(pods, old, debug, "ephemeralcontainers")) ==
          Lines{"spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be removed\n"});
  }
  SECTION("a resize changes amounts, and not the quality of service") {
    const auto sized = [&](const std::string& resources) {
      return made(pods, kRunning,
                  R"({"spec":{"containers":[{"name":"c","image":"i","resources":)" + resources + "}]}}");
    };
    const Json small = sized(R"({"requests":{"cpu":"100m"}})");
    CHECK(lines(validate_update(pods, sized(R"({"requests":{"cpu":"200m"}})"), small, "resize")) == Lines());
    const auto refused = lines(
        validate_update(pods, sized(R"({"requests":{"cpu":"1","memory":"1Gi"},"limits":{"cpu":"1","memory":"1Gi"}})"),
                        small, "resize"));
    REQUIRE(refused.size() == 1);
    CHECK(refused[0].find("Pod QOS Class may not change as a result of resizing") != std::string::npos);
    CHECK(lines(validate_update(pods, sized(R"({"requests":{"memory":"1Gi"}})"), small, "resize")) ==
          Lines{"spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"});
    CHECK(lines(validate_update(pods, sized(R"({"requests":{"cpu":"100m","ephemeral-storage":"1Gi"}})"), small,
                                "resize")) == Lines{"spec: Forbidden: only cpu and memory resources are mutable"});
    Json other = small;
    other["spec"]["containers"][0]["resizePolicy"] =
        json_of(R"([{"resourceName":"cpu","restartPolicy":"RestartContainer"}])");
    CHECK(lines(validate_update(pods, other, small, "resize")) ==
          Lines{"spec: Forbidden: only cpu and memory resources are mutable"});
    other = small;
    other["spec"]["containers"].push_back(json_of(R"({"name":"d","image":"i","terminationMessagePolicy":"File",
        "imagePullPolicy":"Always"})"));
    CHECK(lines(validate_update(pods, other, small, "resize")) ==
          Lines{"spec.containers: Forbidden: containers may not be added or removed on resize"});
    other = small;
    other["spec"]["containers"][0]["name"] = "e";
    CHECK(lines(validate_update(pods, other, small, "resize")) ==
          Lines{"spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"});
    Json whole = small;
    whole["spec"]["resources"] = json_of(R"({"requests":{"cpu":"1"}})");
    Json without = whole;
    without["spec"].erase("resources");
    CHECK(lines(validate_update(pods, without, whole, "resize")) ==
          Lines{"spec.resources: Forbidden: pod-level resources cannot be removed"});
    without["status"]["containerStatuses"] = json_of(R"([{"name":"c","state":{"running":{}}}])");
    CHECK(lines(validate_update(pods, without, without, "resize")) ==
          Lines{"spec: Forbidden: Pod running on node without support for resize"});
  }
  SECTION("an ended container of a pod that never restarts stays ended") {
    Json before = made(pods, kRunning, R"({"spec":{"restartPolicy":"Never"},"status":{"containerStatuses":[{"name":"c",
      "state":{"terminated":{"exitCode":1}}}]}})");
    Json after = before;
    after["status"]["containerStatuses"][0]["state"] = json_of(R"({"running":{}})");
    CHECK(lines(validate_status_update(pods, after, before)) ==
          Lines{"status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"});
    before["spec"]["restartPolicy"] = after["spec"]["restartPolicy"] = "OnFailure";
    CHECK(lines(validate_status_update(pods, after, before)) == Lines());
  }
}

TEST_CASE("hostile shapes do not crash") {
  for (const Resource& resource : builtin_resources()) {
    if (resource.type == nullptr) continue;
    for (const char* text :
         {"null", "[]", "7", "{}", R"({"metadata":7,"spec":[],"status":"x","data":[1]})",
          R"({"metadata":{"labels":[],"name":3},"spec":{"containers":{},"template":[],"ports":7,
                                 "selector":"x","volumes":[1,null,"a"]}})",
          R"({"spec":{"containers":[null,{}],"initContainers":[{}],"tolerations":[7],"template":{"spec":
                                 {"containers":[{}]}}}})"}) {
      const Json object = json_of(text);
      (void)validate_create(resource, object);
      (void)validate_update(resource, object, object);
      (void)validate_update(resource, object, Json::object());
      (void)validate_status_update(resource, object, object);
    }
  }
  SUCCEED();
}
