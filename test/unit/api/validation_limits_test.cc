#include "validation_fixture.h"

using namespace brume;
using namespace brume::api;
using Faults = std::vector<std::string>;

TEST_CASE("limit ranges") {
  const auto faults = [](const char* item) {
    return lines(validate_create(
        res("limitranges"),
        json_of(std::string(R"({"metadata":{"name":"l","namespace":"n"},"spec":{"limits":[)") + item + "]}}")));
  };
  CHECK(faults(R"({"type":"Container","min":{"cpu":"1"},"max":{"cpu":"2"},"default":{"cpu":"2"},
    "defaultRequest":{"cpu":"1"},"maxLimitRequestRatio":{"cpu":"2"}})")
            .empty());
  CHECK(faults(R"({"type":"Container","min":{"cpu":"3"},"max":{"cpu":"2"}})") ==
        Faults{"spec.limits[0].min[cpu]: Invalid value: \"3\": min value 3 is greater than max value 2"});
  CHECK(faults(R"({"type":"Container","default":{"cpu":"3"},"max":{"cpu":"2"}})") ==
        Faults{"spec.limits[0].default[cpu]: Invalid value: \"2\": default value 3 is greater than max value 2"});
  CHECK(faults(R"({"type":"Container","default":{"cpu":"1"},"defaultRequest":{"cpu":"2"}})") ==
        Faults{
            "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2\": default request value 2 is greater than default "
            "limit value 1"});
  CHECK(faults(R"({"type":"Container","min":{"cpu":"1"},"max":{"cpu":"2"},"maxLimitRequestRatio":{"cpu":"3"}})") ==
        Faults{"spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = "
               "2.000000"});
  // 0.3 / 0.1 is less than 3 in doubles.
  CHECK(
      faults(R"({"type":"Container","min":{"cpu":"100m"},"max":{"cpu":"300m"},"maxLimitRequestRatio":{"cpu":"3"}})") ==
      Faults{});
  CHECK(faults(R"({"type":"Pod","maxLimitRequestRatio":{"cpu":"500m"}})") ==
        Faults{"spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1"});
  CHECK(faults(R"({"type":"Pod","default":{"cpu":"1"}})") ==
        Faults{"spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"});
  CHECK(faults(R"({"type":"Container","default":{"a.com/gpu":"2"},"defaultRequest":{"a.com/gpu":"1"}})") ==
        Faults{"spec.limits[0].defaultRequest[a.com/gpu]: Invalid value: \"1\": default value 2 must equal to "
               "defaultRequest value 1 in a.com/gpu"});
  CHECK(faults(R"({"type":"Container","max":{"storage":"1"}})") ==
        Faults{"spec.limits[0].max[storage]: Invalid value: \"storage\": must be a standard resource for containers"});
  CHECK(faults(R"({"type":"PersistentVolumeClaim","max":{"cpu":"1"}})").size() == 1);
  CHECK(faults(R"({"type":"Node","max":{"cpu":"1"}})").size() == 1);
}

TEST_CASE("resource quotas") {
  const auto faults = [](const char* spec) {
    return lines(
        validate_create(res("resourcequotas"),
                        json_of(std::string(R"({"metadata":{"name":"q","namespace":"n"},"spec":)") + spec + "}")));
  };
  CHECK(faults(R"({"hard":{"pods":"1","count/jobs.batch":"2","requests.example.com/gpu":"3","hugepages-2Mi":"4Mi"}})")
            .empty());
  CHECK(faults(R"({"hard":{"storage":"1"}})") ==
        Faults{"spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota"});
  CHECK(faults(R"({"hard":{"pods":"1500m"}})").size() == 1);
  CHECK(faults(R"({"hard":{"pods":"-1"}})").size() == 1);
  CHECK(faults(R"({"hard":{"requests.cpu":"1"},"scopes":["BestEffort"]})") ==
        Faults{"spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource"});
  CHECK(faults(R"({"hard":{"pods":"1"},"scopes":["BestEffort","NotBestEffort"]})").size() == 1);
  CHECK(faults(R"({"hard":{"pods":"1"},"scopes":["Odd"]})").size() == 1);
  const auto selector = [&](const char* scope, const char* op, const char* values) {
    return faults((std::string(R"({"hard":{"pods":"1"},"scopeSelector":{"matchExpressions":[{"scopeName":")") + scope +
                   R"(","operator":")" + op + R"(","values":)" + values + "}]}}")
                      .c_str());
  };
  CHECK(selector("PriorityClass", "In", R"(["high"])").empty());
  CHECK(selector("PriorityClass", "DoesNotExist", "[]").empty());
  CHECK(selector("PriorityClass", "In", "[]")
            .at(0)
            .ends_with("must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"));
  CHECK(selector("PriorityClass", "Exists", R"(["a"])").size() == 1);
  CHECK(selector("PriorityClass", "Is", "[]").size() == 1);
  CHECK(selector("Terminating", "In", R"(["a"])").size() == 1);
  CHECK(selector("Terminating", "Exists", "[]").empty());
}
