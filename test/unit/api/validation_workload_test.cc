#include "validation_fixture.h"

using namespace brume;
using namespace brume::api;

namespace {

constexpr const char* kDeployment =
    R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","namespace":"n"},
  "spec":{"selector":{"matchLabels":{"app":"a"}},"template":{"metadata":{"labels":{"app":"a"}},
  "spec":{"containers":[{"name":"c","image":"i"}]}}}})";
constexpr const char* kStatefulSet =
    R"({"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"a","namespace":"n"},
  "spec":{"serviceName":"s","selector":{"matchLabels":{"app":"a"}},"template":{"metadata":{"labels":{"app":"a"}},
  "spec":{"containers":[{"name":"c","image":"i","volumeMounts":[{"name":"data","mountPath":"/d"}]}]}},
  "volumeClaimTemplates":[{"metadata":{"name":"data"},"spec":{"accessModes":["ReadWriteOnce"],
  "resources":{"requests":{"storage":"1Gi"}}}}]}})";
constexpr const char* kDaemonSet =
    R"({"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"a","namespace":"n"},
  "spec":{"selector":{"matchLabels":{"app":"a"}},"template":{"metadata":{"labels":{"app":"a"}},
  "spec":{"containers":[{"name":"c","image":"i"}]}}}})";
constexpr const char* kJob = R"({"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a","namespace":"n"},
  "spec":{"manualSelector":true,"selector":{"matchLabels":{"job":"a"}},"template":{"metadata":{"labels":{"job":"a"}},
  "spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}})";
constexpr const char* kCronJob = R"({"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"a","namespace":"n"},
  "spec":{"schedule":"*/5 0-6 1,15 jan-mar mon","jobTemplate":{"spec":{"template":{
  "spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}}})";

}  // namespace

TEST_CASE("deployments") {
  check_all(
      "deployments.apps", kDeployment,
      {{R"({"spec":{"selector":null}})",
        {"spec.selector: Required value",
         "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`"}},
       {R"({"spec":{"selector":{"matchLabels":null}}})",
        {"spec.selector: Invalid value: {}: empty selector is invalid for deployment"}},
       {R"({"spec":{"template":{"metadata":{"labels":{"app":"b"}}}}})",
        {"spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`"}},
       {R"({"spec":{"replicas":-1}})", {"spec.replicas: Invalid value: -1: must be greater than or equal to 0"}},
       {R"({"spec":{"strategy":{"type":"Recreate","rollingUpdate":{}}}})",
        {"spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"}},
       {R"({"spec":{"strategy":{"rollingUpdate":{"maxSurge":0,"maxUnavailable":0}}}})",
        {"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"}},
       {R"({"spec":{"strategy":{"rollingUpdate":{"maxUnavailable":"101%"}}}})",
        {"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"}},
       {R"({"spec":{"strategy":{"rollingUpdate":{"maxSurge":"x"}}}})",
        {"spec.strategy.rollingUpdate.maxSurge: Invalid value: \"x\": a valid percent string must be a numeric string "
         "followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"}},
       {R"({"spec":{"minReadySeconds":600}})",
        {"spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"}},
       {R"({"spec":{"template":{"spec":{"restartPolicy":"Never"}}}})",
        {R"(spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always")"}},
       {R"({"spec":{"template":{"spec":{"containers":[]}}}})", {"spec.template.spec.containers: Required value"}}});
  check_updates("deployments.apps", kDeployment,
                {{R"({"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"c","image":"j"}]}}}})", {}},
                 {R"({"spec":{"selector":{"matchLabels":{"app":"b"}},"template":{"metadata":{"labels":{"app":"b"}}}}})",
                  {"spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable"}}});
}

TEST_CASE("stateful sets") {
  check_all("statefulsets.apps", kStatefulSet,
            {{R"({"metadata":{"name":"a.b"}})", {"metadata.name: Invalid value: \"a.b\": must not contain dots"}},
             {R"({"spec":{"podManagementPolicy":"X"}})",
              {"spec.podManagementPolicy: Invalid value: \"X\": must be 'OrderedReady' or 'Parallel'"}},
             {R"({"spec":{"volumeClaimTemplates":[]}})",
              {"spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\""}},
             {R"({"spec":{"template":{"spec":{"hostname":"_","subdomain":"_"}}}})", {}},
             {R"({"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":{"partition":1}}}})",
              {"spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":1}: only allowed for updateStrategy "
               "'RollingUpdate'"}},
             {R"({"spec":{"updateStrategy":{"rollingUpdate":{"partition":-1,"maxUnavailable":0}}}})",
              {"spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
               "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"}},
             {R"({"spec":{"ordinals":{"start":-1}}})",
              {"spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0"}},
             {R"({"spec":{"persistentVolumeClaimRetentionPolicy":{"whenDeleted":"X"}}})",
              {R"(spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "X": )"
               R"(supported values: "Retain", "Delete")"}},
             {R"({"spec":{"template":{"spec":{"restartPolicy":"Never"}}}})",
              {R"(spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always")"}}});
  check_updates(
      "statefulsets.apps", kStatefulSet,
      {{R"({"spec":{"replicas":3}})", {}},
       {R"({"spec":{"ordinals":{"start":2},"minReadySeconds":3,"revisionHistoryLimit":1,"template":{"spec":{"nodeName":"n"}},
         "persistentVolumeClaimRetentionPolicy":{"whenScaled":"Delete"},"updateStrategy":{"type":"OnDelete"}}})",
        {}},
       {R"({"spec":{"serviceName":"t"}})",
        {"spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
         "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
         "'minReadySeconds' are forbidden"}}});
}

TEST_CASE("daemon sets") {
  check_all("daemonsets.apps", kDaemonSet,
            {{R"({"spec":{"updateStrategy":{"rollingUpdate":{"maxUnavailable":0}}}})",
              {"spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"}},
             {R"({"spec":{"template":{"metadata":{"labels":null}}}})",
              {"spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`"}}});
}

TEST_CASE("controller revisions") {
  constexpr const char* kRevision =
      R"({"apiVersion":"apps/v1","kind":"ControllerRevision","metadata":{"name":"a-b","namespace":"n"},
    "data":{"spec":{}},"revision":1})";
  check_all("controllerrevisions.apps", kRevision,
            {{R"({"revision":-1})", {"revision: Invalid value: -1: must be greater than or equal to 0"}},
             {R"({"data":null})", {"data: Required value: data is mandatory"}},
             {R"({"data":[]})", {"data: Required value: data must be a valid JSON object"}}});
  check_updates("controllerrevisions.apps", kRevision,
                {{R"({"revision":7})", {}},
                 {R"({"data":{"spec":{"a":1}}})", {R"(data: Invalid value: {"spec":{"a":1}}: field is immutable)"}}});
}

TEST_CASE("counts in the status of workloads") {
  const auto refused = [](std::string_view group_resource, std::string_view base, std::string_view status) {
    const Resource& resource = res(group_resource);
    const Json old = made(resource, base, R"({"status":{"collisionCount":2}})");
    return lines(validate_status_update(resource, made(resource, base, status), old));
  };
  using Lines = std::vector<std::string>;
  CHECK(
      refused(
          "statefulsets.apps", kStatefulSet,
          R"({"status":{"replicas":2,"readyReplicas":1,"availableReplicas":2,"updatedReplicas":3,"collisionCount":2}})") ==
      Lines{"status.updatedReplicas: Invalid value: 3: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 2: cannot be greater than status.readyReplicas"});
  CHECK(refused("daemonsets.apps", kDaemonSet, R"({"status":{"numberReady":-1,"collisionCount":1}})") ==
        Lines{"status.numberReady: Invalid value: -1: must be greater than or equal to 0",
              "status.collisionCount: Invalid value: 1: cannot be decremented"});
  CHECK(refused("daemonsets.apps", kDaemonSet,
                R"({"status":{"desiredNumberScheduled":3,"numberReady":3,"collisionCount":2}})")
            .empty());
}

TEST_CASE("jobs and cron jobs") {
  check_all("jobs.batch", kJob,
            {{R"({"spec":{"template":{"spec":{"restartPolicy":"Always"}}}})",
              {R"(spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never")"}},
             {R"({"spec":{"backoffLimit":-1}})",
              {"spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0"}},
             {R"({"spec":{"completionMode":"Indexed","parallelism":2}})",
              {"spec.completions: Required value: when completion mode is Indexed"}}});
  check_updates("jobs.batch", kJob,
                {{R"({"spec":{"parallelism":3,"completions":1}})", {}},
                 {R"({"spec":{"completions":3}})", {"spec.completions: Invalid value: 3: field is immutable"}}});
  check_all(
      "cronjobs.batch", kCronJob,
      {{R"({"spec":{"schedule":"@hourly"}})", {}},
       {R"({"spec":{"schedule":"0 0 * *"}})",
        {"spec.schedule: Invalid value: \"0 0 * *\": expected exactly 5 fields, found 4: [0 0 * *]"}},
       {R"({"spec":{"schedule":"61 * * * *"}})",
        {"spec.schedule: Invalid value: \"61 * * * *\": end of range (61) above maximum (59): 61"}},
       {R"({"spec":{"schedule":"TZ=UTC 0 * * * *"}})",
        {"spec.schedule: Invalid value: \"TZ=UTC 0 * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field "
         "instead"}},
       {R"({"spec":{"concurrencyPolicy":"X"}})",
        {R"(spec.concurrencyPolicy: Unsupported value: "X": supported values: "Allow", "Forbid", "Replace")"}}});
}

TEST_CASE("roles and bindings") {
  constexpr const char* kBinding = R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding",
    "metadata":{"name":"a:b","namespace":"n"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"r"},
    "subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"u"}]})";
  check_all("rolebindings.rbac.authorization.k8s.io", kBinding,
            {{R"({"roleRef":{"kind":"X"}})",
              {R"(roleRef.kind: Unsupported value: "X": supported values: "Role", "ClusterRole")"}},
             {R"({"subjects":[{"kind":"X","name":"u"}]})",
              {R"(subjects[0].kind: Unsupported value: "X": supported values: "ServiceAccount", "User", "Group")"}},
             {R"({"metadata":{"name":"a/b"}})", {"metadata.name: Invalid value: \"a/b\": may not contain '/'"}}});
  check_updates(
      "rolebindings.rbac.authorization.k8s.io", kBinding,
      {{R"({"roleRef":{"name":"s"}})",
        {"roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"s\"}: "
         "cannot change roleRef"}}});
  check_all(
      "roles.rbac.authorization.k8s.io",
      R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"a","namespace":"n"}})",
      {{R"({"rules":[{"verbs":[],"apiGroups":[""],"resources":["pods"]}]})",
        {"rules[0].verbs: Required value: verbs must contain at least one value"}},
       {R"({"rules":[{"verbs":["get"],"nonResourceURLs":["/x"]}]})",
        {"rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs"}}});
}

TEST_CASE("smaller kinds") {
  check_all("priorityclasses.scheduling.k8s.io",
            R"({"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"a"},"value":5})",
            {{R"({"value":1000000001})",
              {"value: Forbidden: maximum allowed value of a user defined priority is 1000000000"}}});
  check_all(
      "persistentvolumeclaims",
      R"({"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"a","namespace":"n"},
                "spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}})",
      {{R"({"spec":{"accessModes":[]}})", {"spec.accessModes: Required value: at least 1 access mode is required"}},
       {R"({"spec":{"resources":null}})", {"spec.resources[storage]: Required value"}}});
  check_all(
      "ingresses.networking.k8s.io",
      R"({"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"a","namespace":"n"},"spec":{"rules":[
                {"host":"a.example.com","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"s",
                "port":{"number":80}}}}]}}]}})",
      {{R"({"spec":{"rules":null}})",
        {"spec: Invalid value: {}: either `defaultBackend` or `rules` must be specified"}},
       {R"({"spec":{"rules":[{"host":"1.2.3.4"}]}})",
        {"spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"}}});
  check_all(
      "nodes", R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"a"}})",
      {{R"({"spec":{"taints":[{"key":"a","effect":"X"}]}})",
        {R"(metadata.taints[0].effect: Unsupported value: "X": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute")"}}});
}
