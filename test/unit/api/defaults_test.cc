#include "brume/api/defaults.h"
#include "brume/api/decode.h"
#include "catch.h"

using namespace brume;
using namespace brume::api;

namespace {
Json defaulted(const char* resource, std::string_view text) {
  auto value = *parse_json(text);
  REQUIRE(coerce(*res(resource).type, value).has_value());
  apply_defaults(res(resource), value);
  auto again = value;
  apply_defaults(res(resource), again);
  CHECK(again == value);
  return value;
}
std::string dumped(const Json& value, const char* pointer) {
  auto at = Json::json_pointer(pointer);
  return value.contains(at) ? dump_json(value[at]) : "absent";
}
}  // namespace

TEST_CASE("pods get Kubernetes' defaults") {
  auto pod =
      defaulted("pods", R"({"metadata":{"name":"a"},"spec":{"hostNetwork":true,"serviceAccount":"sa","containers":[
    {"name":"c","image":"nginx","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"1","memory":"0.5m"},"requests":{"cpu":"100u"}},
     "livenessProbe":{"httpGet":{"port":80}},"env":[{"name":"n","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}]},
    {"name":"d","image":"r:5000/x@sha256:00"},{"name":"e","image":"r:5000/x:v1"}],
    "volumes":[{"name":"v"},{"name":"s","secret":{"secretName":"x"}},{"name":"h","hostPath":{"path":"/"}}]}})");
  CHECK(dumped(pod, "/spec/restartPolicy") == "\"Always\"");
  CHECK(dumped(pod, "/spec/dnsPolicy") == "\"ClusterFirst\"");
  CHECK(dumped(pod, "/spec/schedulerName") == "\"default-scheduler\"");
  CHECK(dumped(pod, "/spec/securityContext") == "{}");
  CHECK(dumped(pod, "/spec/terminationGracePeriodSeconds") == "30");
  CHECK(dumped(pod, "/spec/enableServiceLinks") == "true");
  CHECK(dumped(pod, "/spec/serviceAccountName") == "\"sa\"");
  CHECK(dumped(pod, "/spec/containers/0/imagePullPolicy") == "\"Always\"");
  CHECK(dumped(pod, "/spec/containers/1/imagePullPolicy") == "\"IfNotPresent\"");
  CHECK(dumped(pod, "/spec/containers/2/imagePullPolicy") == "\"IfNotPresent\"");
  CHECK(dumped(pod, "/spec/containers/0/terminationMessagePath") == "\"/dev/termination-log\"");
  CHECK(dumped(pod, "/spec/containers/0/terminationMessagePolicy") == "\"File\"");
  CHECK(dumped(pod, "/spec/containers/0/ports/0") == R"({"containerPort":80,"hostPort":80,"protocol":"TCP"})");
  CHECK(dumped(pod, "/spec/containers/0/resources/requests") == R"({"cpu":"1m","memory":"1m"})");
  CHECK(
      dumped(pod, "/spec/containers/0/livenessProbe") ==
      R"({"failureThreshold":3,"httpGet":{"path":"/","port":80,"scheme":"HTTP"},"periodSeconds":10,"successThreshold":1,"timeoutSeconds":1})");
  CHECK(dumped(pod, "/spec/containers/0/env/0/valueFrom/fieldRef/apiVersion") == "\"v1\"");
  CHECK(dumped(pod, "/spec/volumes/0/emptyDir") == "{}");
  CHECK(dumped(pod, "/spec/volumes/1/secret/defaultMode") == "420");
  CHECK(dumped(pod, "/spec/volumes/2/hostPath/type") == "\"\"");
}

TEST_CASE("explicit values are kept") {
  auto deployment =
      defaulted("deployments.apps", R"({"spec":{"replicas":0,"strategy":{"type":"Recreate"},"template":{"spec":{
    "terminationGracePeriodSeconds":0,"restartPolicy":"Never","containers":[{"name":"a","image":"x:latest"}]}}}})");
  CHECK(dumped(deployment, "/spec/replicas") == "0");
  CHECK(dumped(deployment, "/spec/strategy") == R"({"type":"Recreate"})");
  CHECK(dumped(deployment, "/spec/template/spec/terminationGracePeriodSeconds") == "0");
  CHECK(dumped(deployment, "/spec/template/spec/restartPolicy") == "\"Never\"");
  CHECK(dumped(deployment, "/spec/template/spec/containers/0/imagePullPolicy") == "\"Always\"");
  CHECK(dumped(deployment, "/spec/template/spec/enableServiceLinks") == "absent");
}

TEST_CASE("a pod's negative grace becomes a second, a template's stays") {
  const auto pod = defaulted("pods", R"({"metadata":{"name":"a"},"spec":{"terminationGracePeriodSeconds":-1}})");
  CHECK(dumped(pod, "/spec/terminationGracePeriodSeconds") == "1");
  const auto deployment =
      defaulted("deployments.apps", R"({"spec":{"template":{"spec":{"terminationGracePeriodSeconds":-1}}}})");
  CHECK(dumped(deployment, "/spec/template/spec/terminationGracePeriodSeconds") == "-1");
}

TEST_CASE("workloads") {
  auto deployment =
      defaulted("deployments.apps", R"({"spec":{"template":{"spec":{"containers":[{"name":"a","image":"x"}]}}}})");
  CHECK(dumped(deployment, "/spec/replicas") == "1");
  CHECK(dumped(deployment, "/spec/revisionHistoryLimit") == "10");
  CHECK(dumped(deployment, "/spec/progressDeadlineSeconds") == "600");
  CHECK(dumped(deployment, "/spec/strategy") ==
        R"({"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"})");
  auto set =
      defaulted("statefulsets.apps", R"({"spec":{"volumeClaimTemplates":[{"metadata":{"name":"d"},"spec":{}}]}})");
  CHECK(dumped(set, "/spec/updateStrategy") == R"({"rollingUpdate":{"partition":0},"type":"RollingUpdate"})");
  CHECK(dumped(set, "/spec/podManagementPolicy") == "\"OrderedReady\"");
  CHECK(dumped(set, "/spec/persistentVolumeClaimRetentionPolicy") ==
        R"({"whenDeleted":"Retain","whenScaled":"Retain"})");
  CHECK(dumped(set, "/spec/volumeClaimTemplates/0/spec/volumeMode") == "\"Filesystem\"");
  auto daemons = defaulted("daemonsets.apps", R"({"spec":{}})");
  CHECK(dumped(daemons, "/spec/updateStrategy") ==
        R"({"rollingUpdate":{"maxSurge":0,"maxUnavailable":1},"type":"RollingUpdate"})");
  auto job =
      defaulted("jobs.batch", R"({"metadata":{"name":"j"},"spec":{"template":{"metadata":{"labels":{"a":"b"}}}}})");
  CHECK(dumped(job, "/spec/completions") == "1");
  CHECK(dumped(job, "/spec/parallelism") == "1");
  CHECK(dumped(job, "/spec/backoffLimit") == "6");
  CHECK(dumped(job, "/spec/completionMode") == "\"NonIndexed\"");
  CHECK(dumped(job, "/spec/podReplacementPolicy") == "\"TerminatingOrFailed\"");
  CHECK(dumped(job, "/metadata/labels") == R"({"a":"b"})");
  CHECK(dumped(defaulted("jobs.batch", R"({"spec":{"parallelism":3}})"), "/spec/completions") == "absent");
  auto cron = defaulted("cronjobs.batch",
                        R"({"spec":{"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"name":"a"}]}}}}}})");
  CHECK(dumped(cron, "/spec/concurrencyPolicy") == "\"Allow\"");
  CHECK(dumped(cron, "/spec/successfulJobsHistoryLimit") == "3");
  CHECK(dumped(cron, "/spec/jobTemplate/spec/backoffLimit") == "absent");
  CHECK(dumped(cron, "/spec/jobTemplate/spec/template/spec/dnsPolicy") == "\"ClusterFirst\"");
}

TEST_CASE("services and the rest") {
  auto service =
      defaulted("services", R"({"spec":{"type":"LoadBalancer","sessionAffinity":"ClientIP","ports":[{"port":80}]}})");
  CHECK(dumped(service, "/spec/ports/0") == R"({"port":80,"protocol":"TCP","targetPort":80})");
  CHECK(dumped(service, "/spec/externalTrafficPolicy") == "\"Cluster\"");
  CHECK(dumped(service, "/spec/internalTrafficPolicy") == "\"Cluster\"");
  CHECK(dumped(service, "/spec/allocateLoadBalancerNodePorts") == "true");
  CHECK(dumped(service, "/spec/sessionAffinityConfig/clientIP/timeoutSeconds") == "10800");
  auto plain = defaulted("services", R"({"spec":{"ports":[{"port":80,"targetPort":"http"}]}})");
  CHECK(dumped(plain, "/spec/type") == "\"ClusterIP\"");
  CHECK(dumped(plain, "/spec/sessionAffinity") == "\"None\"");
  CHECK(dumped(plain, "/spec/ports/0/targetPort") == "\"http\"");
  CHECK(dumped(plain, "/spec/externalTrafficPolicy") == "absent");
  CHECK(dumped(defaulted("namespaces", R"({"metadata":{"name":"x"}})"), "/metadata/labels") ==
        R"({"kubernetes.io/metadata.name":"x"})");
  CHECK(dumped(defaulted("secrets", "{}"), "/type") == "\"Opaque\"");
  CHECK(dumped(defaulted("persistentvolumes", "{}"), "/spec/persistentVolumeReclaimPolicy") == "\"Retain\"");
  CHECK(dumped(defaulted("nodes", R"({"status":{"capacity":{"cpu":"2"}}})"), "/status/allocatable") ==
        R"({"cpu":"2"})");
  CHECK(dumped(defaulted("endpointslices.discovery.k8s.io", R"({"ports":[{"port":1}]})"), "/ports/0") ==
        R"({"name":"","port":1,"protocol":"TCP"})");
  CHECK(dumped(defaulted("networkpolicies.networking.k8s.io", R"({"spec":{"egress":[{}]}})"), "/spec/policyTypes") ==
        R"(["Ingress","Egress"])");
  auto binding = defaulted(
      "rolebindings.rbac.authorization.k8s.io",
      R"({"roleRef":{"kind":"Role","name":"r"},"subjects":[{"kind":"User","name":"u"},{"kind":"ServiceAccount","name":"s"}]})");
  CHECK(dumped(binding, "/roleRef/apiGroup") == "\"rbac.authorization.k8s.io\"");
  CHECK(dumped(binding, "/subjects/0/apiGroup") == "\"rbac.authorization.k8s.io\"");
  CHECK(dumped(binding, "/subjects/1/apiGroup") == "absent");
  auto scaler = defaulted("horizontalpodautoscalers.autoscaling",
                          R"({"spec":{"behavior":{"scaleDown":{"selectPolicy":"Min"}}}})");
  CHECK(dumped(scaler, "/spec/minReplicas") == "1");
  CHECK(dumped(scaler, "/spec/metrics/0/resource/target/averageUtilization") == "80");
  CHECK(dumped(scaler, "/spec/behavior/scaleDown/selectPolicy") == "\"Min\"");
  CHECK(dumped(scaler, "/spec/behavior/scaleUp/stabilizationWindowSeconds") == "0");
  CHECK(dumped(defaulted("storageclasses.storage.k8s.io", "{}"), "/volumeBindingMode") == "\"Immediate\"");
  auto crd = defaulted(
      "customresourcedefinitions.apiextensions.k8s.io",
      R"({"spec":{"names":{"kind":"Foo","plural":"foos"},"versions":[{"name":"v1","storage":true,"served":true}]}})");
  CHECK(dumped(crd, "/spec/names/listKind") == "\"FooList\"");
  CHECK(dumped(crd, "/spec/names/singular") == "\"foo\"");
  CHECK(dumped(crd, "/spec/conversion/strategy") == "\"None\"");
}

TEST_CASE("defaults of anything never fail") {
  for (const Resource& resource : builtin_resources()) {
    for (const char* text :
         {"{}", R"({"spec":{}})", R"({"spec":{"template":{"spec":{"containers":[{}]}}},"metadata":{}})"}) {
      auto value = *parse_json(text);
      apply_defaults(resource, value);
      CHECK(value.is_object());
    }
  }
}
