// HorizontalPodAutoscalers: the two versions of one object, and what both must hold to.
#include "brume/api/autoscaling.h"

#include "validation_fixture.h"

using namespace brume;
using namespace brume::api;

namespace {

constexpr const char* kAutoscaler = R"({"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler",
  "metadata":{"name":"a","namespace":"n"},
  "spec":{"minReplicas":1,"maxReplicas":3,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},
  "metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":50}}}]}})";

Json to_v1(Json object) {
  autoscaler_to_v1(object);
  return object;
}
Json to_v2(Json object) {
  autoscaler_to_v2(object);
  return object;
}
Json annotation(const Json& object, const std::string& name) {
  return parse_json(str(at(object, "metadata", "annotations"), "autoscaling.alpha.kubernetes.io/" + name))
      .value_or(Json());
}

Json with_metric(const char* metric) {
  Json object = json_of(kAutoscaler);
  object["spec"]["metrics"] = Json::array({json_of(metric)});
  return object;
}

}  // namespace

TEST_CASE("a target of the processor alone is a field of v1") {
  const Json v1 = to_v1(json_of(kAutoscaler));
  CHECK(str(v1, "apiVersion") == "autoscaling/v1");
  CHECK(at(v1, "spec", "targetCPUUtilizationPercentage") == 50);
  CHECK_FALSE(at(v1, "spec").contains("metrics"));
  CHECK_FALSE(at(v1, "metadata").contains("annotations"));
  CHECK(at(v1, "status") == Json{{"currentReplicas", 0}, {"desiredReplicas", 0}});
  const Json back = to_v2(v1);
  CHECK(at(back, "spec") == at(json_of(kAutoscaler), "spec"));
  CHECK(at(back, "status") == Json{{"currentMetrics", nullptr}, {"desiredReplicas", 0}});
}

TEST_CASE("v1 without any target wants 80 percent of the processor") {
  Json v1 = to_v1(json_of(kAutoscaler));
  v1["spec"].erase("targetCPUUtilizationPercentage");
  CHECK(at(to_v2(v1), "spec", "metrics")[0]["resource"]["target"]["averageUtilization"] == 80);
}

TEST_CASE("what v1 has no field for travels in annotations") {
  Json v2 = json_of(kAutoscaler);
  v2["metadata"]["annotations"]["mine"] = "kept";
  v2["spec"]["metrics"].push_back(json_of(
      R"({"type":"Pods","pods":{"metric":{"name":"qps","selector":{"matchLabels":{"a":"b"}}},"target":{"type":"AverageValue","averageValue":"1k"}}})"));
  v2["spec"]["metrics"].push_back(json_of(
      R"({"type":"Object","object":{"describedObject":{"apiVersion":"v1","kind":"Service","name":"s"},"metric":{"name":"hits"},"target":{"type":"Value","value":"10"}}})"));
  v2["spec"]["metrics"].push_back(json_of(
      R"({"type":"Object","object":{"describedObject":{"apiVersion":"v1","kind":"Service","name":"s"},"metric":{"name":"hits"},"target":{"type":"AverageValue","averageValue":"10"}}})"));
  v2["spec"]["metrics"].push_back(json_of(
      R"({"type":"External","external":{"metric":{"name":"queue"},"target":{"type":"AverageValue","averageValue":"30"}}})"));
  v2["spec"]["metrics"].push_back(json_of(
      R"({"type":"ContainerResource","containerResource":{"name":"memory","container":"c","target":{"type":"AverageValue","averageValue":"1Gi"}}})"));
  v2["spec"]["behavior"] = json_of(
      R"({"scaleUp":{"stabilizationWindowSeconds":0,"selectPolicy":"Max","policies":[{"type":"Pods","value":4,"periodSeconds":15}]},
          "scaleDown":{"selectPolicy":"Disabled","tolerance":"50m","policies":[{"type":"Percent","value":100,"periodSeconds":15}]}})");
  v2["status"] = json_of(
      R"({"currentReplicas":2,"desiredReplicas":3,"lastScaleTime":"2026-01-01T00:00:00Z",
          "conditions":[{"type":"AbleToScale","status":"True","reason":"ReadyForNewScale","message":"m","lastTransitionTime":"2026-01-01T00:00:00Z"}],
          "currentMetrics":[{"type":"Resource","resource":{"name":"cpu","current":{"averageUtilization":70,"averageValue":"7m"}}},
                            {"type":"Pods","pods":{"metric":{"name":"qps"},"current":{"averageValue":"900"}}}]})");
  const Json v1 = to_v1(v2);
  CHECK(str(at(v1, "metadata", "annotations"), "mine") == "kept");
  CHECK(at(v1, "status", "currentCPUUtilizationPercentage") == 70);
  CHECK(at(v1, "status", "currentReplicas") == 2);
  const Json metrics = annotation(v1, "metrics");
  REQUIRE(metrics.size() == 5);
  CHECK(
      metrics[0] ==
      json_of(
          R"({"type":"Pods","pods":{"metricName":"qps","selector":{"matchLabels":{"a":"b"}},"targetAverageValue":"1k"}})"));
  CHECK(
      metrics[1] ==
      json_of(
          R"({"type":"Object","object":{"target":{"apiVersion":"v1","kind":"Service","name":"s"},"metricName":"hits","targetValue":"10"}})"));
  CHECK(metrics[3] == json_of(R"({"type":"External","external":{"metricName":"queue","targetAverageValue":"30"}})"));
  CHECK(
      at(annotation(v1, "behavior"), "ScaleUp") ==
      json_of(
          R"({"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15}],"Tolerance":null})"));
  CHECK(annotation(v1, "conditions") == at(v2, "status", "conditions"));
  // And back, but for the order: the processor's target comes last, as in Kubernetes.
  Json expected = v2;
  Json& list = expected["spec"]["metrics"];
  std::rotate(list.begin(), list.begin() + 1, list.end());
  CHECK(to_v2(v1) == expected);
}

TEST_CASE("annotations that say nothing sensible are dropped") {
  for (const char* text :
       {"{", "[]", "[{\"type\":7}]", "[7]", "[{\"type\":\"Pods\",\"pods\":{\"targetAverageValue\":true}}]"}) {
    INFO(text);
    Json v1 = to_v1(json_of(kAutoscaler));
    v1["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"] = text;
    v1["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/behavior"] = text;
    const Json v2 = to_v2(v1);
    CHECK(at(v2, "spec", "metrics").size() == 1);
    CHECK_FALSE(at(v2, "spec").contains("behavior"));
    CHECK_FALSE(at(v2, "metadata").contains("annotations"));
  }
}

TEST_CASE("autoscalers") {
  const std::string path = "spec.metrics[0].";
  check_all(
      "horizontalpodautoscalers.autoscaling", kAutoscaler,
      {{R"({"spec":{"minReplicas":0}})",
        {"spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
         "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero "
         "replicas"}},
       {R"({"spec":{"maxReplicas":0}})",
        {"spec.maxReplicas: Required value: must be set and greater than 0",
         "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`"}},
       {R"({"spec":{"maxReplicas":-2,"minReplicas":null}})",
        {"spec.maxReplicas: Invalid value: -2: must be greater than or equal to 1",
         "spec.maxReplicas: Invalid value: -2: must be greater than or equal to `minReplicas`"}},
       {R"({"spec":{"scaleTargetRef":{"kind":"","name":"a/b","apiVersion":"v1"}}})",
        {"spec.scaleTargetRef.kind: Required value",
         "spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'",
         "spec.scaleTargetRef.apiVersion: Invalid value: \"v1\": apiVersion must specify API group"}},
       {R"({"spec":{"scaleTargetRef":{"kind":"ReplicationController","apiVersion":"v1"}}})", {}},
       {R"({"spec":{"scaleTargetRef":{"apiVersion":"a/b/c"}}})",
        {"spec.scaleTargetRef.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"}},
       {R"({"spec":{"metrics":[{"type":"Dream"}]}})",
        {path +
             R"(type: Unsupported value: "Dream": supported values: "ContainerResource", "External", "Object", "Pods", "Resource")",
         path +
             R"(type: Unsupported value: "Dream": supported values: "ContainerResource", "External", "Object", "Pods", "Resource")"}},
       {R"({"spec":{"metrics":[{"type":"Pods"}]}})",
        {path + "pods: Required value: must populate information for the given metric source"}},
       {R"({"spec":{"metrics":[{"type":"Resource","resource":{"name":"","target":{"type":"Share"}}}]}})",
        {path + "resource.name: Required value: must specify a resource name",
         path + "resource.target.type: Invalid value: \"Share\": must be either Utilization, Value, or AverageValue",
         path + "resource.target.averageUtilization: Required value: must set either a target raw value or a target "
                "utilization"}},
       {R"({"spec":{"metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":0,"averageValue":"-1"}}}]}})",
        {path + "resource.target.averageValue: Invalid value: \"-1\": must be positive",
         path + "resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
         path + "resource.target.averageValue: Forbidden: may not set both a target raw value and a target "
                "utilization"}},
       {R"({"spec":{"metrics":[{"type":"ContainerResource","containerResource":{"name":"bogus","container":"","target":{"type":"AverageValue","averageValue":"1"}}}]}})",
        {path + "containerResource.name: Invalid value: \"bogus\": must be a standard resource type or fully qualified",
         path + "containerResource.name: Invalid value: \"bogus\": must be a standard resource for containers",
         path + "containerResource.container: Required value: must specify a container"}},
       {R"({"spec":{"metrics":[{"type":"External","external":{"metric":{"name":"q"},"target":{"type":"Value","value":"1","averageValue":"1"}}}]}})",
        {path + "external.target.value: Forbidden: may not set both a target value for metric and a per-pod target"}},
       {R"({"spec":{"metrics":[{"type":"Object","object":{"describedObject":{"kind":"Service","name":"s"},"metric":{"name":""},"target":{"type":"Value"}}}]}})",
        {path + "object.metric.name: Required value: must specify a metric name",
         path + "object.target.averageValue: Required value: must set either a target value or averageValue"}},
       {R"({"spec":{"metrics":[{"type":"Pods","pods":{"metric":{"name":"q"},"target":{"type":"AverageValue","averageValue":"1"}},"resource":{"name":"cpu"}}]}})",
        {path + "resource: Forbidden: must populate the given metric source only"}},
       {R"({"spec":{"behavior":{"scaleUp":{"stabilizationWindowSeconds":3601,"selectPolicy":"Some","policies":[],"tolerance":"-1"},
           "scaleDown":{"stabilizationWindowSeconds":-1,"policies":[{"type":"Half","value":0,"periodSeconds":1801}]}}}})",
        {"spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
         "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"Some\": supported values: \"Disabled\", \"Max\", "
         "\"Min\"",
         "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
         "spec.behavior.scaleUp.tolerance: Invalid value: \"-1\": must be greater than or equal to 0",
         "spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: -1: must be greater than or equal to zero",
         "spec.behavior.scaleDown.policies[0].type: Unsupported value: \"Half\": supported values: \"Percent\", "
         "\"Pods\"",
         "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
         "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to "
         "1800"}}});
}

TEST_CASE("an autoscaler that was sound by older rules may be changed") {
  Json old = json_of(kAutoscaler);
  old["spec"]["minReplicas"] = 0;
  old["spec"]["scaleTargetRef"]["apiVersion"] = "v1";
  old["spec"]["metrics"] = Json::array(
      {json_of(R"({"type":"External","external":{"metric":{"name":"q"},"target":{"type":"Value","value":"1"}}})")});
  Json next = old;
  next["spec"]["maxReplicas"] = 9;
  const Resource& resource = res("horizontalpodautoscalers.autoscaling");
  CHECK(lines(validate_update(resource, next, old)).empty());
  next["spec"]["scaleTargetRef"]["kind"] = "ReplicaSet";
  CHECK(lines(validate_update(resource, next, old)) ==
        std::vector<std::string>{
            "spec.scaleTargetRef.apiVersion: Invalid value: \"v1\": apiVersion must specify API group"});
}

TEST_CASE("v1 autoscalers are validated in v2's words") {
  const Resource& v1 = *find_resource("autoscaling", "v1", "horizontalpodautoscalers");
  Json object = to_v1(json_of(kAutoscaler));
  CHECK(lines(validate_create(v1, object)).empty());
  object["spec"]["targetCPUUtilizationPercentage"] = 0;
  CHECK(
      lines(validate_create(v1, object)) ==
      std::vector<std::string>{"spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater "
                               "than 0"});
  Json negative = to_v1(with_metric(
      R"({"type":"Pods","pods":{"metric":{"name":"q"},"target":{"type":"AverageValue","averageValue":"-5"}}})"));
  CHECK(lines(validate_create(v1, negative)) ==
        std::vector<std::string>{"spec.metrics[0].pods.target.averageValue: Invalid value: \"-5\": must be positive"});
}

TEST_CASE("an autoscaler's status counts no negative replicas") {
  const Resource& resource = res("horizontalpodautoscalers.autoscaling");
  Json next = json_of(kAutoscaler);
  next["status"] = {{"currentReplicas", -1}, {"desiredReplicas", 1}};
  CHECK(lines(validate_status_update(resource, next, json_of(kAutoscaler))) ==
        std::vector<std::string>{"status.currentReplicas: Invalid value: -1: must be greater than or equal to 0"});
}
