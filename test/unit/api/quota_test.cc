#include "brume/api/quota.h"

#include "brume/base/json.h"
#include "catch.h"

using namespace brume;
using namespace brume::api;

namespace {

Json parse(std::string_view text) {
  auto value = parse_json(text);
  REQUIRE(value);
  return *value;
}

constexpr WallTime kNow{std::chrono::seconds(1'800'000'000)};

std::string use(const QuotaItem& item, const char* name) {
  const auto found = item.usage.find(name);
  return found == item.usage.end() ? "-" : found->second.to_string();
}

QuotaItem pod(std::string_view spec, std::string_view status = "{}") {
  return quota_item(res("pods"), {{"metadata", Json::object()}, {"spec", parse(spec)}, {"status", parse(status)}},
                    kNow);
}

}  // namespace

TEST_CASE("what a pod uses") {
  const auto item = pod(R"({"containers":[{"name":"a","resources":{
    "requests":{"cpu":"100m","memory":"1Mi","ephemeral-storage":"1Gi","hugepages-2Mi":"4Mi","example.com/gpu":"2",
                "kubernetes.io/native":"1"},
    "limits":{"cpu":"1","memory":"2Mi","ephemeral-storage":"2Gi","hugepages-2Mi":"4Mi","example.com/gpu":"2"}}},
    {"name":"b","resources":{"requests":{"cpu":"200m"}}}],
    "initContainers":[{"name":"i","resources":{"requests":{"memory":"5Mi"}}}]})");
  CHECK(use(item, "pods") == "1");
  CHECK(use(item, "count/pods") == "1");
  CHECK(use(item, "cpu") == "300m");
  CHECK(use(item, "requests.cpu") == "300m");
  CHECK(use(item, "limits.cpu") == "1");
  CHECK(use(item, "memory") == "5Mi");
  CHECK(use(item, "requests.memory") == "5Mi");
  CHECK(use(item, "limits.memory") == "2Mi");
  CHECK(use(item, "requests.ephemeral-storage") == "1Gi");
  CHECK(use(item, "limits.ephemeral-storage") == "2Gi");
  CHECK(use(item, "hugepages-2Mi") == "4Mi");
  CHECK(use(item, "requests.hugepages-2Mi") == "4Mi");
  CHECK(use(item, "requests.example.com/gpu") == "2");
  CHECK(use(item, "limits.example.com/gpu") == "-");
  CHECK(use(item, "example.com/gpu") == "-");
  CHECK(use(item, "requests.kubernetes.io/native") == "-");
}

TEST_CASE("pods that are over use nothing but their place") {
  for (const char* phase : {"Succeeded", "Failed"}) {
    const auto done = pod(R"({"containers":[{"name":"a","resources":{"requests":{"cpu":"1"}}}]})",
                          std::string(R"({"phase":")") + phase + "\"}");
    CHECK(use(done, "count/pods") == "1");
    CHECK(use(done, "pods") == "-");
    CHECK(use(done, "cpu") == "-");
  }
}

TEST_CASE("a resize counts the greater amount while it is under way") {
  const std::string spec = R"({"containers":[{"name":"a","resources":{"requests":{"cpu":"2"}}}]})";
  CHECK(use(pod(spec, R"({"containerStatuses":[{"name":"a","resources":{"requests":{"cpu":"3"}},
    "allocatedResources":{"cpu":"1"}}]})"),
            "requests.cpu") == "3");
  CHECK(use(pod(spec, R"({"containerStatuses":[{"name":"a","resources":{"requests":{"cpu":"1"}}}],
    "conditions":[{"type":"PodResizePending","status":"True","reason":"Infeasible"}]})"),
            "requests.cpu") == "1");
}

TEST_CASE("what services and claims use") {
  const auto service = [](std::string_view spec) { return quota_item(res("services"), {{"spec", parse(spec)}}, kNow); };
  CHECK(use(service(R"({"type":"ClusterIP","ports":[{"port":1}]})"), "services") == "1");
  CHECK(use(service(R"({"type":"ClusterIP","ports":[{"port":1}]})"), "services.nodeports") == "0");
  CHECK(use(service(R"({"type":"NodePort","ports":[{"port":1},{"port":2}]})"), "services.nodeports") == "2");
  const auto balanced = service(R"({"type":"LoadBalancer","ports":[{"port":1},{"port":2}]})");
  CHECK(use(balanced, "services.loadbalancers") == "1");
  CHECK(use(balanced, "services.nodeports") == "2");
  CHECK(use(service(R"({"type":"LoadBalancer","allocateLoadBalancerNodePorts":false,
    "ports":[{"port":1},{"port":2,"nodePort":30000}]})"),
            "services.nodeports") == "1");

  const auto claim = quota_item(res("persistentvolumeclaims"),
                                parse(R"({"spec":{"storageClassName":"gold","volumeAttributesClassName":"fast",
    "resources":{"requests":{"storage":"1.5"}}},"status":{"allocatedResources":{"storage":"1Ki"}}})"),
                                kNow);
  CHECK(use(claim, "persistentvolumeclaims") == "1");
  CHECK(use(claim, "requests.storage") == "1Ki");
  CHECK(use(claim, "gold.storageclass.storage.k8s.io/requests.storage") == "1Ki");
  CHECK(use(claim, "gold.storageclass.storage.k8s.io/persistentvolumeclaims") == "1");
  CHECK(claim.attributes_classes == std::vector<std::string>{"fast"});
}

TEST_CASE("what claims of devices use") {
  const auto claim = quota_item(res("resourceclaims.resource.k8s.io"), parse(R"({"spec":{"devices":{"requests":[
    {"name":"a","exactly":{"deviceClassName":"gpu","allocationMode":"ExactCount","count":2}},
    {"name":"b","exactly":{"deviceClassName":"nic","allocationMode":"All"}},
    {"name":"c","firstAvailable":[{"deviceClassName":"gpu","count":3},{"deviceClassName":"gpu","count":1},
                                  {"deviceClassName":"fpga"}]}]}}})"),
                                kNow);
  CHECK(use(claim, "gpu.deviceclass.resource.k8s.io/devices") == "5");
  CHECK(use(claim, "nic.deviceclass.resource.k8s.io/devices") == "32");
  CHECK(use(claim, "fpga.deviceclass.resource.k8s.io/devices") == "1");
  CHECK(use(claim, "count/resourceclaims.resource.k8s.io") == "1");
}

TEST_CASE("whose objects a name counts") {
  const auto owner = [](const char* name) {
    const auto* resource = quota_resource(name);
    return resource == nullptr ? std::string("-") : resource->group_resource();
  };
  CHECK(owner("pods") == "pods");
  CHECK(owner("requests.example.com/gpu") == "pods");
  CHECK(owner("requests.hugepages-1Gi") == "pods");
  CHECK(owner("requests.storage") == "persistentvolumeclaims");
  CHECK(owner("x.storageclass.storage.k8s.io/persistentvolumeclaims") == "persistentvolumeclaims");
  CHECK(owner("services.nodeports") == "services");
  CHECK(owner("secrets") == "secrets");
  CHECK(owner("gpu.deviceclass.resource.k8s.io/devices") == "resourceclaims.resource.k8s.io");
  CHECK(owner("count/jobs.batch") == "jobs.batch");
  CHECK(owner("count/nodes") == "-");
  CHECK(owner("example.com/gpu") == "-");
  CHECK(quota_counts(res("jobs.batch"), "count/jobs.batch"));
  CHECK_FALSE(quota_counts(res("jobs.batch"), "count/jobs"));
  CHECK_FALSE(quota_counts(res("pods"), "secrets"));
}

TEST_CASE("what a quota demands of a pod") {
  const Json spec = parse(R"({"containers":[{"name":"b","resources":{"limits":{"cpu":"1"}}},{"name":"a"}],
    "initContainers":[{"name":"i"}]})");
  CHECK(quota_demands({"limits.cpu", "pods", "requests.ephemeral-storage"}, spec) ==
        "must specify limits.cpu for: a,i");
  CHECK(quota_demands({"memory", "limits.cpu"}, spec) == "must specify limits.cpu for: a,i; memory for: a,b,i");
  CHECK(quota_demands({"pods"}, spec).empty());
  Json whole = spec;
  whole["resources"]["limits"]["cpu"] = "3";
  CHECK(quota_demands({"limits.cpu"}, whole).empty());
}

TEST_CASE("which objects a quota's scopes select") {
  const auto& pods = res("pods");
  const auto rules = [](std::string_view scopes) { return QuotaRules(parse(scopes)); };
  const auto effort = pod(R"({"containers":[{"name":"a"}],"priorityClassName":"high"})");
  const auto ending =
      pod(R"({"containers":[{"name":"a","resources":{"requests":{"cpu":"1"}}}],"activeDeadlineSeconds":1})");
  CHECK(rules(R"({})").selects(pods, effort));
  CHECK(rules(R"({"scopes":["BestEffort","NotTerminating"]})").selects(pods, effort));
  CHECK_FALSE(rules(R"({"scopes":["BestEffort"]})").selects(pods, ending));
  CHECK(rules(R"({"scopes":["NotBestEffort","Terminating"]})").selects(pods, ending));
  CHECK_FALSE(rules(R"({"scopes":["BestEffort"]})").selects(res("services"), {}));
  const auto by_class = [&](const char* op, const char* values, const QuotaItem& item) {
    return rules(std::string(R"({"scopeSelector":{"matchExpressions":[{"scopeName":"PriorityClass","operator":")") +
                 op + R"(","values":)" + values + "}]}}")
        .selects(pods, item);
  };
  CHECK(by_class("In", R"(["high","low"])", effort));
  CHECK_FALSE(by_class("In", R"(["low"])", effort));
  CHECK_FALSE(by_class("In", R"(["low"])", ending));
  CHECK(by_class("NotIn", R"(["low"])", effort));
  CHECK(by_class("NotIn", R"(["low"])", ending));
  CHECK(by_class("Exists", "[]", effort));
  CHECK_FALSE(by_class("Exists", "[]", ending));
  CHECK(by_class("DoesNotExist", "[]", ending));
  const auto crossing = pod(R"({"containers":[],"affinity":{"podAntiAffinity":{
    "preferredDuringSchedulingIgnoredDuringExecution":[{"weight":1,"podAffinityTerm":{"namespaceSelector":{}}}]}}})");
  CHECK(rules(R"({"scopes":["CrossNamespacePodAffinity"]})").selects(pods, crossing));
  CHECK_FALSE(rules(R"({"scopes":["CrossNamespacePodAffinity"]})").selects(pods, effort));
}
