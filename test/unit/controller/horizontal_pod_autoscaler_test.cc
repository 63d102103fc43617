// HorizontalPodAutoscalers as a whole: scales, conditions, events, and how little is written.
#include "horizontal_pod_autoscaler.h"

#include "bench.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

Json autoscaler(const std::string& name, Json metrics, int least = 1, int most = 10, const char* kind = "Deployment",
                const char* version = "apps/v1") {
  return {{"metadata", {{"name", name}}},
          {"spec",
           {{"minReplicas", least},
            {"maxReplicas", most},
            {"scaleTargetRef", {{"apiVersion", version}, {"kind", kind}, {"name", "web"}}},
            {"metrics", std::move(metrics)}}}};
}

Json cpu_percent(int percent) {
  return {{"type", "Resource"},
          {"resource", {{"name", "cpu"}, {"target", {{"type", "Utilization"}, {"averageUtilization", percent}}}}}};
}
Json source(const char* text) { return *parse_json(text); }
const Json kQueue = *parse_json(
    R"({"type":"External","external":{"metric":{"name":"queue","selector":{"matchLabels":{"q":"a"}}},"target":{"type":"AverageValue","averageValue":"30"}}})");

/// A cluster with one workload "web" whose pods use what the test says.
struct Scene {
  Bench bench{{make_horizontal_pod_autoscaler}};
  std::vector<std::string> written;

  void workload(int replicas, const char* resource = "deployments.apps") {
    Json object = deployment("web", replicas);
    if (std::string_view(resource) == "replicationcontrollers") object["spec"]["selector"] = {{"app", "web"}};
    object["status"]["replicas"] = replicas;
    bench.api.seed(resource, std::move(object));
  }
  /// So many ready pods, each of which requests a core, and what each uses of it ("" for no metrics).
  void pods(int count, const std::string& cpu, const std::string& memory = "64Mi") {
    for (int i = 0; i < count; ++i) {
      const std::string name = "web-" + std::to_string(i);
      Json pod{{"metadata", {{"name", name}, {"labels", {{"app", "web"}}}}},
               {"spec", {{"nodeName", "n1"}, {"containers", Json::array({{{"name", "main"}}})}}}};
      pod["spec"]["containers"][0]["resources"]["requests"] = {{"cpu", "1"}, {"memory", "128Mi"}};
      pod["status"] = {
          {"phase", "Running"},
          {"startTime", "2025-12-31T00:00:00Z"},
          {"conditions",
           Json::array({{{"type", "Ready"}, {"status", "True"}, {"lastTransitionTime", "2025-12-31T00:00:01Z"}}})}};
      bench.api.seed("pods", std::move(pod));
      if (cpu.empty()) continue;
      Json metrics{{"metadata", {{"name", name}, {"labels", {{"app", "web"}}}}},
                   {"timestamp", format_rfc3339(bench.clock.now())},
                   {"window", "15s"}};
      metrics["containers"] = Json::array({{{"name", "main"}, {"usage", {{"cpu", cpu}, {"memory", memory}}}}});
      bench.api.seed("pods.metrics.k8s.io", std::move(metrics));
    }
  }
  /// Time for each autoscaler to be looked at once.
  Task<void> tick() {
    co_await test::settle(150);
    bench.clock.advance(15s);
    co_await test::settle(200);
  }
  [[nodiscard]] Json status(const char* name = "hpa") const {
    return at(bench.api.json("horizontalpodautoscalers.autoscaling", "default", name), "status");
  }
  [[nodiscard]] std::string condition(const char* type, const char* name = "hpa") const {
    const Json found = client::find_condition(status(name), type);
    if (found.is_null()) return "";
    return std::string(str(found, "status")) + " " + std::string(str(found, "reason")) + ": " +
           std::string(str(found, "message"));
  }
  [[nodiscard]] std::int64_t replicas(const char* resource = "deployments.apps") const {
    return num(at(bench.api.json(resource, "default", "web"), "spec"), "replicas");
  }
  [[nodiscard]] std::size_t status_writes() const {
    return bench.api.count("patch", "horizontalpodautoscalers.autoscaling", "status");
  }
  void seed(Json hpa) { bench.api.seed("horizontalpodautoscalers.autoscaling", std::move(hpa)); }
  void run(std::function<Task<void>()> body) { bench.run(std::move(body)); }
};

}  // namespace

TEST_CASE("a busy workload is scaled up, and says why") {
  Scene s;
  s.run([&]() -> Task<void> {
    s.workload(2);
    s.pods(2, "900m");
    s.seed(autoscaler("hpa", Json::array({cpu_percent(50)})));
    co_await test::settle(100);
    CHECK(s.replicas() == 2);  // looked at once a period
    co_await s.tick();
    CHECK(s.replicas() == 4);
    CHECK(num(s.status(), "currentReplicas") == 2);
    CHECK(num(s.status(), "desiredReplicas") == 4);
    CHECK(str(s.status(), "lastScaleTime") == format_rfc3339(s.bench.clock.now()));
    CHECK(
        at(s.status(), "currentMetrics") ==
        source(
            R"([{"type":"Resource","resource":{"name":"cpu","current":{"averageUtilization":90,"averageValue":"900m"}}}])"));
    CHECK(s.condition("AbleToScale") ==
          "True SucceededRescale: the HPA controller was able to update the target scale to 4");
    CHECK(s.condition("ScalingActive") ==
          "True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource "
          "utilization (percentage of request)");
    CHECK(s.condition("ScalingLimited") ==
          "False DesiredWithinRange: the desired count is within the acceptable range");
    co_await test::settle(100);
    CHECK(
        s.bench.events("SuccessfulRescale") ==
        std::vector<std::string>{"New size: 4; reason: cpu resource utilization (percentage of request) above target"});
    CHECK_FALSE(s.status().contains("observedGeneration"));  // autoscalers have no generation
  });
}

TEST_CASE("growth is limited to twice the pods, and to maxReplicas") {
  Scene s;
  s.run([&]() -> Task<void> {
    s.workload(2);
    s.pods(2, "10");
    s.seed(autoscaler("hpa", Json::array({cpu_percent(50)}), 1, 6));
    co_await s.tick();
    CHECK(s.replicas() == 4);
    CHECK(s.condition("ScalingLimited") ==
          "True ScaleUpLimit: the desired replica count is increasing faster than the maximum scale rate");
    co_await s.tick();
    CHECK(s.replicas() == 6);
    CHECK(s.condition("ScalingLimited") ==
          "True TooManyReplicas: the desired replica count is more than the maximum replica count");
  });
}

TEST_CASE("scaling down waits until five minutes have agreed") {
  Scene s;
  s.run([&]() -> Task<void> {
    s.workload(4);
    s.pods(4, "500m");
    s.seed(autoscaler("hpa", Json::array({cpu_percent(50)})));
    co_await s.tick();
    CHECK(s.condition("AbleToScale") == "True ReadyForNewScale: recommended size matches current size");
    s.pods(4, "100m");
    for (int i = 0; i < 19; ++i) co_await s.tick();
    CHECK(s.replicas() == 4);
    CHECK(s.condition("AbleToScale") ==
          "True ScaleDownStabilized: recent recommendations were higher than current one, applying the highest recent "
          "recommendation");
    co_await s.tick();
    co_await s.tick();
    CHECK(s.replicas() == 1);
    CHECK(s.bench.events("SuccessfulRescale") ==
          std::vector<std::string>{"New size: 1; reason: All metrics below target"});
  });
}

TEST_CASE("behaviour overrides windows, rates and tolerances") {
  Scene s;
  s.run([&]() -> Task<void> {
    s.workload(10);
    s.pods(10, "100m");
    Json hpa = autoscaler("hpa", Json::array({cpu_percent(50)}), 1, 20);
    hpa["spec"]["behavior"] = source(
        R"({"scaleDown":{"stabilizationWindowSeconds":0,"policies":[{"type":"Pods","value":3,"periodSeconds":60}],"selectPolicy":"Max"}})");
    s.seed(hpa);
    co_await s.tick();
    CHECK(s.replicas() == 7);
    CHECK(s.condition("ScalingLimited") ==
          "True ScaleDownLimit: the desired replica count is decreasing faster than the maximum scale rate");
    co_await s.tick();
    CHECK(s.replicas() == 7);  // three in a minute
    for (int i = 0; i < 3; ++i) co_await s.tick();
    CHECK(s.replicas() == 4);
    hpa["spec"]["behavior"]["scaleDown"]["tolerance"] = "900m";
    s.seed(hpa);
    for (int i = 0; i < 5; ++i) co_await s.tick();
    CHECK(s.replicas() == 4);  // a fifth of the target is tolerated now
  });
}

TEST_CASE("an unchanged world is written down once") {
  Scene s;
  s.run([&]() -> Task<void> {
    s.workload(2);
    s.pods(2, "500m");
    s.seed(autoscaler("hpa", Json::array({cpu_percent(50)})));
    co_await s.tick();
    CHECK(s.status_writes() == 1);
    for (int i = 0; i < 10; ++i) {
      s.pods(2, "50" + std::to_string(i % 5) + "m");  // 50 percent still
      co_await s.tick();
    }
    CHECK(s.status_writes() == 1);
    CHECK(s.bench.api.count("update", "deployments.apps", "scale") == 0);
    s.pods(2, "520m");
    co_await s.tick();
    CHECK(s.status_writes() == 2);
    CHECK(at(s.status(), "currentMetrics")[0]["resource"]["current"]["averageUtilization"] == 52);
  });
}

TEST_CASE("which changes of a status are worth a write") {
  const auto with = [](const char* current) {
    Json status = source(
        R"({"desiredReplicas":1,"conditions":[],"currentMetrics":[{"type":"Resource","resource":{"name":"memory"}}]})");
    status["currentMetrics"][0]["resource"]["current"] = source(current);
    return status;
  };
  CHECK_FALSE(worth_writing(with(R"({"averageValue":"100Mi"})"), with(R"({"averageValue":"101Mi"})")));
  CHECK(worth_writing(with(R"({"averageValue":"100Mi"})"), with(R"({"averageValue":"110Mi"})")));
  CHECK(worth_writing(with(R"({"averageValue":"0"})"), with(R"({"averageValue":"1m"})")));
  CHECK_FALSE(worth_writing(with(R"({"averageUtilization":5,"averageValue":"1"})"),
                            with(R"({"averageUtilization":5,"averageValue":"2"})")));
  CHECK(worth_writing(with(R"({"averageUtilization":5})"), with(R"({"averageUtilization":6})")));
  Json other = with(R"({"averageValue":"100Mi"})");
  other["currentReplicas"] = 2;
  CHECK(worth_writing(with(R"({"averageValue":"100Mi"})"), other));
  CHECK(worth_writing(Json(), with(R"({"averageValue":"1"})")));
  CHECK_FALSE(worth_writing(source(R"({"desiredReplicas":0,"currentMetrics":null})"),
                            source(R"({"desiredReplicas":0,"currentMetrics":null})")));
}

TEST_CASE("pods without metrics") {
  Scene s;
  s.run([&]() -> Task<void> {
    s.workload(2);
    s.pods(2, "");
    s.seed(autoscaler("hpa", Json::array({cpu_percent(50)})));
    co_await s.tick();
    CHECK(s.condition("AbleToScale") ==
          "True SucceededGetScale: the HPA controller was able to get the target's current scale");
    const std::string why =
        "failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource "
        "metrics API";
    CHECK(s.condition("ScalingActive") ==
          "False FailedGetResourceMetric: the HPA was unable to compute the replica count: " + why);
    CHECK(at(s.status(), "currentMetrics") == source(R"([{"type":""}])"));
    CHECK(num(s.status(), "currentReplicas") == 2);
    co_await test::settle(100);
    CHECK(s.bench.events("FailedGetResourceMetric") == std::vector<std::string>{why});
    CHECK(s.bench.events("FailedComputeMetricsReplicas") ==
          std::vector<std::string>{
              "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: " + why});
    s.bench.api.react([](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.resource != "pods.metrics.k8s.io") return std::nullopt;
      return Error{.code = Code::kServiceUnavailable,
                   .message = "the server is currently unable to handle the request"};
    });
    co_await s.tick();
    CHECK(s.condition("ScalingActive")
              .ends_with("unable to fetch metrics from resource metrics API: the server is currently unable to handle "
                         "the request"));
  });
}

TEST_CASE("the resources of one container, and amounts") {
  Scene s;
  s.run([&]() -> Task<void> {
    s.workload(2);
    s.pods(2, "100m", "96Mi");
    s.seed(autoscaler(
        "hpa",
        Json::array(
            {source(
                 R"({"type":"ContainerResource","containerResource":{"name":"memory","container":"main","target":{"type":"Utilization","averageUtilization":50}}})"),
             source(
                 R"({"type":"Resource","resource":{"name":"memory","target":{"type":"AverageValue","averageValue":"64Mi"}}})")})));
    co_await s.tick();
    CHECK(s.replicas() == 3);
    CHECK(
        at(s.status(), "currentMetrics") ==
        source(
            R"([{"type":"ContainerResource","containerResource":{"name":"memory","container":"main","current":{"averageUtilization":75,"averageValue":"96Mi"}}},
                     {"type":"Resource","resource":{"name":"memory","current":{"averageValue":"96Mi"}}}])"));
    CHECK(s.condition("ScalingActive").ends_with("from memory container resource utilization (percentage of request)"));
    s.seed(autoscaler(
        "hpa",
        Json::array({source(
            R"({"type":"ContainerResource","containerResource":{"name":"cpu","container":"absent","target":{"type":"Utilization","averageUtilization":50}}})")})));
    co_await s.tick();
    CHECK(s.condition("ScalingActive") ==
          "False FailedGetContainerResourceMetric: the HPA was unable to compute the replica count: failed to get cpu "
          "utilization: did not receive metrics for targeted pods (pods might be unready)");
  });
}

TEST_CASE("custom and external metrics that nobody serves") {
  Scene s;
  s.run([&]() -> Task<void> {
    s.workload(2);
    s.pods(2, "1m");
    const auto condition_of = [&](Json metric) -> Task<std::string> {
      s.seed(autoscaler("hpa", Json::array({std::move(metric)})));
      co_await s.tick();
      const std::string text = s.condition("ScalingActive");
      const std::string_view words = "the HPA was unable to compute the replica count: ";
      co_return text.substr(0, text.find(':')) + ": " + text.substr(text.find(words) + words.size());
    };
    CHECK(
        co_await condition_of(source(
            R"({"type":"Pods","pods":{"metric":{"name":"qps"},"target":{"type":"AverageValue","averageValue":"1k"}}})")) ==
        "False FailedGetPodsMetric: unable to get metric qps: unable to fetch metrics from custom metrics API: no "
        "custom metrics API (custom.metrics.k8s.io) registered");
    CHECK(
        co_await condition_of(source(
            R"({"type":"Object","object":{"describedObject":{"apiVersion":"v1","kind":"Service","name":"s"},"metric":{"name":"hits"},"target":{"type":"Value","value":"10"}}})")) ==
        "False FailedGetObjectMetric: unable to get metric hits: Service on default s/unable to fetch metrics from "
        "custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered");
    CHECK(co_await condition_of(kQueue) ==
          "False FailedGetExternalMetric: unable to get external metric default/queue/"
          "&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},}: unable "
          "to fetch metrics from external metrics API: the server could not find the requested resource (get "
          "queue.external.metrics.k8s.io)");
    co_await test::settle(200);
    const auto events = s.bench.events("FailedComputeMetricsReplicas");
    REQUIRE(events.size() == 3);
    CHECK(
        events[0].starts_with("invalid metrics (1 invalid out of 1), first error is: failed to get pods metric value: "
                              "unable to get metric qps: "));
  });
}

TEST_CASE("custom and external metrics that somebody serves") {
  Scene s;
  s.run([&]() -> Task<void> {
    s.workload(2);
    s.pods(2, "1m");
    const std::string custom = "/apis/custom.metrics.k8s.io";
    s.bench.api.set_raw(custom, source(R"({"preferredVersion":{"version":"v1beta2"}})"));
    s.bench.api.set_raw(
        custom + "/v1beta2/namespaces/default/pods/*/qps?labelSelector=app%3Dweb",
        source(
            R"({"items":[{"describedObject":{"name":"web-0"},"timestamp":"2026-01-01T00:00:00Z","value":"3k"},
                     {"describedObject":{"name":"web-1"},"timestamp":"2026-01-01T00:00:00Z","value":"1k"}]})"));
    s.bench.api.set_raw(custom + "/v1beta2/namespaces/default/services/s/hits",
                        source(R"({"items":[{"value":"20"}]})"));
    s.bench.api.set_raw("/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queue?labelSelector=q%3Da",
                        source(R"({"items":[{"value":"100"},{"value":"20"}]})"));
    s.seed(autoscaler(
        "hpa",
        Json::array(
            {source(
                 R"({"type":"Pods","pods":{"metric":{"name":"qps"},"target":{"type":"AverageValue","averageValue":"2k"}}})"),
             source(
                 R"({"type":"Object","object":{"describedObject":{"apiVersion":"v1","kind":"Service","name":"s"},"metric":{"name":"hits"},"target":{"type":"Value","value":"10"}}})"),
             source(
                 R"({"type":"Object","object":{"describedObject":{"apiVersion":"v1","kind":"Service","name":"s"},"metric":{"name":"hits"},"target":{"type":"AverageValue","averageValue":"10"}}})"),
             kQueue})));
    co_await s.tick();
    CHECK(s.replicas() == 4);  // the Object's value is twice the target, the queue four times 30
    CHECK(s.condition("ScalingActive").ends_with("a replica count from Service metric hits"));
    CHECK(at(s.status(), "currentMetrics") ==
          source(
              R"([{"type":"Pods","pods":{"metric":{"name":"qps"},"current":{"averageValue":"2k"}}},
            {"type":"Object","object":{"describedObject":{"apiVersion":"v1","kind":"Service","name":"s"},"metric":{"name":"hits"},"current":{"value":"20"}}},
            {"type":"Object","object":{"describedObject":{"apiVersion":"v1","kind":"Service","name":"s"},"metric":{"name":"hits"},"current":{"averageValue":"10"}}},
            {"type":"External","external":{"metric":{"name":"queue","selector":{"matchLabels":{"q":"a"}}},"current":{"averageValue":"60"}}}])"));
  });
}

TEST_CASE("what a metrics API answers amiss is told, and nothing of it is believed") {
  Scene s;
  s.run([&]() -> Task<void> {
    const std::string custom = "/apis/custom.metrics.k8s.io";
    const std::string hits = custom + "/v1beta2/namespaces/default/services/s/hits";
    const std::string queue = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queue?labelSelector=q%3Da";
    const std::string qps = custom + "/v1beta2/namespaces/default/pods/*/qps?labelSelector=app%3Dpods";
    s.bench.api.set_raw(custom, source(R"({"preferredVersion":{"version":"v1beta2"}})"));
    const Json object = source(
        R"({"type":"Object","object":{"describedObject":{"apiVersion":"v1","kind":"Service","name":"s"},"metric":{"name":"hits"},"target":{"type":"Value","value":"10"}}})");
    const Json pods = source(
        R"({"type":"Pods","pods":{"metric":{"name":"qps"},"target":{"type":"AverageValue","averageValue":"2k"}}})");
    const std::vector<std::pair<std::string, Json>> autoscalers = {
        {"object", object}, {"queue", kQueue}, {"pods", pods}};
    for (const auto& [name, metric] : autoscalers) {
      Json hpa = autoscaler(name, Json::array({metric}));
      hpa["spec"]["scaleTargetRef"]["name"] = "web-" + name;
      s.seed(std::move(hpa));
      Json own = deployment("web-" + name, 2);
      own["spec"]["selector"]["matchLabels"] = {{"app", name}};
      own["status"]["replicas"] = 2;
      s.bench.api.seed("deployments.apps", std::move(own));
    }
    for (const char* text : {R"([])", R"("items")", R"({"items":{"a":{"value":"1"}}})", R"({"items":"x"})",
                             R"({"items":5})", R"({"items":[5]})", R"({"items":[null]})", R"({"items":[["value"]]})",
                             R"({"items":[{"value":"lots"}]})", R"({"items":[{"value":{}}]})"}) {
      INFO(text);
      for (const auto& path : {hits, queue, qps}) s.bench.api.set_raw(path, source(text));
      co_await s.tick();
      for (const char* name : {"object", "queue", "pods"}) {
        INFO(name);
        CHECK(s.condition("ScalingActive", name).find(": malformed answer: ") != std::string::npos);
      }
    }
    // Numbers need no quotes, and what has no bound does not wrap.
    s.bench.api.set_raw(hits, source(R"({"items":[{"value":20}]})"));
    s.bench.api.set_raw(qps, source(R"({"items":[{"describedObject":{"name":"p"},"value":"9E",
      "timestamp":"2026-01-01T00:00:00Z","windowSeconds":9223372036854775807}]})"));
    co_await s.tick();
    CHECK(s.condition("ScalingActive", "object").find("malformed") == std::string::npos);
    CHECK(s.condition("ScalingActive", "pods").find("malformed") == std::string::npos);
    s.bench.api.set_raw(custom, source(R"([1])"));
    co_await s.tick();
    CHECK(s.condition("ScalingActive", "object").find(": malformed answer: ") != std::string::npos);
  });
}

TEST_CASE("a metric that cannot be read holds back scaling down, not up") {
  Scene s;
  s.run([&]() -> Task<void> {
    s.workload(2);
    s.pods(2, "100m");
    s.seed(autoscaler("hpa", Json::array({kQueue, cpu_percent(50)})));
    for (int i = 0; i < 25; ++i) co_await s.tick();
    CHECK(s.replicas() == 2);
    CHECK(s.condition("ScalingActive").starts_with("False FailedGetExternalMetric: "));
    CHECK(at(s.status(), "currentMetrics").size() == 2);
    s.pods(2, "900m");
    co_await s.tick();
    CHECK(s.replicas() == 4);
    CHECK(s.condition("ScalingActive").starts_with("True ValidMetricFound: "));
  });
}

TEST_CASE("what has no scale") {
  Scene s;
  s.run([&]() -> Task<void> {
    s.seed(autoscaler("hpa", Json::array({cpu_percent(50)})));
    s.seed(autoscaler("odd", Json::array({cpu_percent(50)}), 1, 10, "Balloon"));
    s.seed(autoscaler("flat", Json::array({cpu_percent(50)}), 1, 10, "ConfigMap", "v1"));
    s.seed(autoscaler("deep", Json::array({cpu_percent(50)}), 1, 10, "Deployment", "a/b/c"));
    co_await s.tick();
    const std::string words = "False FailedGetScale: the HPA controller was unable to get the target's current scale: ";
    CHECK(s.condition("AbleToScale") == words + "deployments.apps \"web\" not found");
    CHECK(s.condition("AbleToScale", "odd") == words + "no matches for kind \"Balloon\" in group \"apps\"");
    CHECK(s.condition("AbleToScale", "flat") == words + "the server could not find the requested resource");
    CHECK(s.condition("AbleToScale", "deep") == words + "unexpected GroupVersion string: a/b/c");
    CHECK(s.condition("ScalingActive").empty());
    co_await test::settle(100);
    CHECK(s.bench.events("FailedGetScale").size() == 4);
  });
}

TEST_CASE("bounds hold without any metric, and zero means hands off") {
  Scene s;
  s.run([&]() -> Task<void> {
    s.workload(12);
    s.seed(autoscaler("hpa", Json::array({cpu_percent(50)}), 3, 8));
    co_await s.tick();
    CHECK(s.replicas() == 8);
    s.workload(1);
    co_await s.tick();
    CHECK(s.replicas() == 3);
    co_await test::settle(100);
    CHECK(s.bench.events("SuccessfulRescale") ==
          std::vector<std::string>{"New size: 8; reason: Current number of replicas above Spec.MaxReplicas",
                                   "New size: 3; reason: Current number of replicas below Spec.MinReplicas"});
    s.workload(0);
    co_await s.tick();
    CHECK(s.replicas() == 0);
    CHECK(s.condition("ScalingActive") ==
          "False ScalingDisabled: scaling is disabled since the replica count of the target is zero");
    CHECK(num(s.status(), "desiredReplicas") == 0);
  });
}

TEST_CASE("pods of two autoscalers are scaled by neither") {
  Scene s;
  s.run([&]() -> Task<void> {
    s.workload(2);
    s.pods(2, "900m");
    s.seed(autoscaler("hpa", Json::array({cpu_percent(50)})));
    s.seed(autoscaler("other", Json::array({cpu_percent(50)})));
    co_await s.tick();
    co_await s.tick();
    const std::string words =
        "False AmbiguousSelector: pods by selector app=web are controlled by multiple HPAs: [{hpa default} {other "
        "default}]";
    CHECK(s.condition("ScalingActive") == words);
    CHECK(s.condition("ScalingActive", "other") == words);
    CHECK(s.replicas() == 4);  // by the one that came first, while the other's selector was not known
    s.pods(4, "900m");
    co_await s.tick();
    CHECK(s.replicas() == 4);
    s.bench.api.erase("horizontalpodautoscalers.autoscaling", "default", "other");
    co_await s.tick();
    CHECK(s.replicas() == 8);
    CHECK(s.condition("ScalingActive").starts_with("True"));
  });
}

TEST_CASE("every kind with a scale is scaled") {
  struct Kind {
    const char* resource;
    const char* kind;
    const char* version;
  };
  for (const Kind& k :
       {Kind{"deployments.apps", "Deployment", "apps/v1"}, Kind{"replicasets.apps", "ReplicaSet", "apps/v1"},
        Kind{"statefulsets.apps", "StatefulSet", "apps/v1"},
        Kind{"replicationcontrollers", "ReplicationController", "v1"}}) {
    INFO(k.kind);
    Scene s;
    s.run([&]() -> Task<void> {
      s.workload(2, k.resource);
      s.pods(2, "900m");
      s.seed(autoscaler("hpa", Json::array({cpu_percent(50)}), 1, 10, k.kind, k.version));
      co_await s.tick();
      CHECK(s.replicas(k.resource) == 4);
    });
  }
}

TEST_CASE("a scale that somebody else changed is read anew; one that cannot be written is told of") {
  Scene s;
  s.run([&]() -> Task<void> {
    s.workload(2);
    s.pods(2, "900m");
    int left = 2;
    s.bench.api.react([&left](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.subresource != "scale" || call.verb != "update" || left == 0) return std::nullopt;
      --left;
      return Error{.code = Code::kConflict, .message = "the object has been modified"};
    });
    s.seed(autoscaler("hpa", Json::array({cpu_percent(50)})));
    co_await s.tick();
    CHECK(s.replicas() == 4);
    CHECK(left == 0);
    s.bench.api.clear_reactors();
    s.bench.api.react([](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.subresource != "scale" || call.verb != "update") return std::nullopt;
      return Error{.code = Code::kForbidden, .message = "no"};
    });
    s.pods(4, "900m");
    co_await s.tick();
    CHECK(s.replicas() == 4);
    CHECK(s.condition("AbleToScale") ==
          "False FailedUpdateScale: the HPA controller was unable to update the target scale: no");
    co_await test::settle(100);
    CHECK(s.bench.events("FailedRescale") ==
          std::vector<std::string>{
              "New size: 8; reason: cpu resource utilization (percentage of request) above target; error: no"});
  });
}

TEST_CASE("without autoscalers nothing is asked and nothing waits") {
  Scene s;
  s.run([&]() -> Task<void> {
    s.workload(2);
    s.pods(2, "900m");
    s.bench.api.clear_calls();
    for (int i = 0; i < 5; ++i) co_await s.tick();
    CHECK(s.bench.api.count("list", "pods.metrics.k8s.io") == 0);
    CHECK(s.bench.clock.sleepers() == 0);
    s.seed(autoscaler("hpa", Json::array({cpu_percent(50)})));
    co_await s.tick();
    CHECK(s.bench.api.count("list", "pods.metrics.k8s.io") == 1);
    s.bench.api.erase("horizontalpodautoscalers.autoscaling", "default", "hpa");
    co_await s.tick();
    co_await s.tick();
    CHECK(s.bench.api.count("list", "pods.metrics.k8s.io") == 1);
    CHECK(s.bench.clock.sleepers() == 0);
  });
}
