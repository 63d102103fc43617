#include "brume/api/resources.h"
#include "brume/api/table.h"
#include "brume/base/json.h"
#include "catch.h"

using namespace brume;
using namespace brume::api;

namespace {

const WallTime kNow = *parse_rfc3339("2026-01-02T00:00:00Z");

std::string cells(std::string_view resource, std::string_view object) {
  return dump_json(table_cells(res(resource), *parse_json(object), kNow));
}

std::string pod(const std::string& spec, const std::string& status, const std::string& metadata = "") {
  const Json row = table_cells(res("pods"),
                               *parse_json(R"({"metadata":{"name":"p","creationTimestamp":"2026-01-01T23:59:00Z")" +
                                           metadata + R"(},"spec":{)" + spec + R"(},"status":{)" + status + "}}"),
                               kNow);
  return std::string(str(row[1])) + " " + std::string(str(row[2])) + " " + std::string(str(row[3])) + " " +
         std::string(str(row[4]));
}

constexpr const char* kOne = R"("containers":[{"name":"c"}])";

}  // namespace

TEST_CASE("every row has a cell for each column") {
  for (const Resource& resource : builtin_resources()) {
    INFO(resource.plural);
    const auto columns = table_columns(resource);
    REQUIRE(!columns.empty());
    for (const char* object : {"{}", "null", "[]", R"({"metadata":7,"spec":[],"status":"x"})"}) {
      CHECK(table_cells(resource, *parse_json(object), kNow).size() == columns.size());
    }
  }
}

TEST_CASE("a pod's status says what it does") {
  CHECK(pod(kOne, R"("phase":"Pending")") == "0/1 Pending 0 60s");
  CHECK(pod(kOne, R"("phase":"Running","containerStatuses":[{"name":"c","ready":true,"state":{"running":{}}}])") ==
        "1/1 Running 0 60s");
  CHECK(pod(kOne, R"("phase":"Running","containerStatuses":[{"name":"c","restartCount":3,"state":{"waiting":{"reason":
      "CrashLoopBackOff"}},"lastState":{"terminated":{"finishedAt":"2026-01-01T23:55:00Z"}}}])") ==
        "0/1 CrashLoopBackOff 3 (5m ago) 60s");
  CHECK(pod(kOne, R"("phase":"Succeeded","containerStatuses":[{"name":"c","state":{"terminated":{"exitCode":0,
      "reason":"Completed"}}}])") == "0/1 Completed 0 60s");
  CHECK(pod(kOne, R"("phase":"Failed","containerStatuses":[{"name":"c","state":{"terminated":{"exitCode":3}}}])") ==
        "0/1 ExitCode:3 0 60s");
  CHECK(
      pod(kOne,
          R"("phase":"Failed","containerStatuses":[{"name":"c","state":{"terminated":{"exitCode":137,"signal":9}}}])") ==
      "0/1 Signal:9 0 60s");
  CHECK(pod(kOne, R"("phase":"Running","containerStatuses":[{"name":"c","ready":true,"state":{"running":{}}}])",
            R"(,"deletionTimestamp":"2026-01-02T00:00:00Z")") == "1/1 Terminating 0 60s");
  CHECK(pod(kOne, R"("phase":"Failed","reason":"Evicted")") == "0/1 Evicted 0 60s");
  CHECK(pod(kOne, R"("phase":"Pending","conditions":[{"type":"PodScheduled","reason":"SchedulingGated"}])") ==
        "0/1 SchedulingGated 0 60s");
}

TEST_CASE("init containers and sidecars") {
  const std::string spec = std::string(R"("initContainers":[{"name":"a"},{"name":"b"}],)") + kOne;
  CHECK(
      pod(spec, R"("phase":"Pending","initContainerStatuses":[{"name":"a","state":{"running":{}}},{"name":"b","state":{
      "waiting":{"reason":"PodInitializing"}}}])") == "0/1 Init:0/2 0 60s");
  CHECK(pod(spec, R"("phase":"Pending","initContainerStatuses":[{"name":"a","state":{"terminated":{"exitCode":0}}},
      {"name":"b","restartCount":2,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}])") ==
        "0/1 Init:CrashLoopBackOff 2 60s");
  CHECK(pod(spec, R"("phase":"Failed","initContainerStatuses":[{"name":"a","state":{"terminated":{"exitCode":2,
      "reason":"Error"}}}])") == "0/1 Init:Error 0 60s");
  const std::string sidecar = std::string(R"("initContainers":[{"name":"s","restartPolicy":"Always"}],)") + kOne;
  CHECK(pod(sidecar,
            R"("phase":"Running","initContainerStatuses":[{"name":"s","started":true,"ready":true,"restartCount":1,
      "state":{"running":{}}}],"containerStatuses":[{"name":"c","ready":true,"state":{"running":{}}}])") ==
        "2/2 Running 1 60s");
}

TEST_CASE("workloads and services") {
  CHECK(cells("deployments.apps",
              R"({"metadata":{"name":"d","creationTimestamp":"2026-01-01T20:00:00Z"},"spec":{"replicas":3,"selector":
                  {"matchLabels":{"app":"a"}},"template":{"spec":{"containers":[{"name":"c","image":"i"},{"name":"e",
                  "image":"j"}]}}},"status":{"readyReplicas":2,"updatedReplicas":3,"availableReplicas":2}})") ==
        R"(["d","2/3",3,2,"4h","c,e","i,j","app=a"])");
  CHECK(cells("services",
              R"({"metadata":{"name":"s","creationTimestamp":"2025-12-30T00:00:00Z"},"spec":{"type":"NodePort",
              "clusterIPs":["10.43.0.1"],"ports":[{"port":80,"nodePort":30080,"protocol":"TCP"},{"port":53,
              "protocol":"UDP"}],"selector":{"a":"b"}}})") ==
        R"(["s","NodePort","10.43.0.1","<none>","80:30080/TCP,53/UDP","3d","a=b"])");
  CHECK(cells("services", R"({"metadata":{"name":"s"},"spec":{"type":"LoadBalancer"}})") ==
        R"(["s","LoadBalancer","<none>","<pending>","<none>","<unknown>","<none>"])");
  CHECK(cells("endpoints", R"({"metadata":{"name":"e"},"subsets":[{"addresses":[{"ip":"1.1.1.1"},{"ip":"1.1.1.2"}],
              "ports":[{"port":80},{"port":81}]}]})") ==
        R"(["e","1.1.1.1:80,1.1.1.2:80,1.1.1.1:81 + 1 more...","<unknown>"])");
  CHECK(cells("jobs.batch",
              R"({"metadata":{"name":"j","creationTimestamp":"2026-01-01T23:59:00Z"},"spec":{"completions":1},
              "status":{"succeeded":1,"startTime":"2026-01-01T23:59:00Z","completionTime":"2026-01-01T23:59:07Z",
              "conditions":[{"type":"Complete","status":"True"}]}})") ==
        R"(["j","Complete","1/1","7s","60s","","","<none>"])");
}

TEST_CASE("nodes, data and events") {
  CHECK(
      cells("nodes", R"({"metadata":{"name":"n","creationTimestamp":"2026-01-01T00:00:00Z","labels":{
              "node-role.kubernetes.io/control-plane":""}},"spec":{"unschedulable":true},"status":{"conditions":[
              {"type":"Ready","status":"True"}],"addresses":[{"type":"InternalIP","address":"1.2.3.4"}],"nodeInfo":{
              "kubeletVersion":"v1.36.0","osImage":"Debian","kernelVersion":"6.1","architecture":"amd64",
              "containerRuntimeVersion":"brume://1"}}})") ==
      R"j(["n","Ready,SchedulingDisabled","control-plane","24h","v1.36.0","1.2.3.4","<none>","Debian","6.1 (amd64)","brume://1"])j");
  CHECK(cells("configmaps", R"({"metadata":{"name":"c"},"data":{"a":"","b":""},"binaryData":{"d":""}})") ==
        R"(["c",3,"<unknown>"])");
  CHECK(cells("events", R"({"metadata":{"name":"e"},"type":"Warning","reason":"Failed","message":" text ","count":4,
              "firstTimestamp":"2026-01-01T23:00:00Z","lastTimestamp":"2026-01-01T23:59:55Z","involvedObject":{"kind":"Pod",
              "name":"p"},"source":{"component":"kubelet","host":"n"}})") ==
        R"(["5s","Warning","Failed","pod/p","","kubelet, n","text","60m",4,"e"])");
  CHECK(cells("namespaces", R"({"metadata":{"name":"x"},"status":{"phase":"Active"}})") ==
        R"(["x","Active","<unknown>"])");
}

TEST_CASE("metrics and autoscalers") {
  CHECK(cells("pods.metrics.k8s.io", R"({"metadata":{"name":"p"},"window":"15.1s","containers":[
      {"name":"a","usage":{"cpu":"250m","memory":"3Mi"}},{"name":"b","usage":{"cpu":"1","memory":"1Mi"}}]})") ==
        R"(["p","1250m","4Mi","15.1s"])");
  CHECK(
      cells("nodes.metrics.k8s.io", R"({"metadata":{"name":"n"},"window":"10s","usage":{"cpu":"1","memory":"2Gi"}})") ==
      R"(["n","1","2Gi","10s"])");
  CHECK(
      cells("horizontalpodautoscalers.autoscaling", R"({"metadata":{"name":"h"},"spec":{"minReplicas":1,"maxReplicas":4,
      "scaleTargetRef":{"kind":"Deployment","name":"web"},"metrics":[{"type":"Resource","resource":{"name":"cpu",
      "target":{"type":"Utilization","averageUtilization":50}}}]},"status":{"currentReplicas":2,"currentMetrics":[
      {"type":"Resource","resource":{"name":"cpu","current":{"averageUtilization":10}}}]}})") ==
      R"(["h","Deployment/web","cpu: 10%/50%","1",4,2,"<unknown>"])");
}

TEST_CASE("ages are short") {
  const auto age = [](const char* created) {
    Json object;
    object["metadata"] = {{"name", "x"}, {"creationTimestamp", created}};
    return std::string(str(table_cells(res("namespaces"), object, kNow)[2]));
  };
  CHECK(age("2026-01-01T23:58:01Z") == "119s");
  CHECK(age("2026-01-01T23:57:57Z") == "2m3s");
  CHECK(age("2026-01-01T23:45:00Z") == "15m");
  CHECK(age("2026-01-01T18:30:00Z") == "5h30m");
  CHECK(age("2025-12-29T20:00:00Z") == "3d4h");
  CHECK(age("2025-12-01T00:00:00Z") == "32d");
  CHECK(age("2023-01-01T00:00:00Z") == "3y2d");
  CHECK(age("2026-01-02T00:01:00Z") == "<invalid>");
}
