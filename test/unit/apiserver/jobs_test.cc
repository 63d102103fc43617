// What the registry does to Jobs and CronJobs: selectors, warnings, generations, propagation.
#include <algorithm>

#include "brume/base/clock.h"
#include "core_fixture.h"

using namespace brume;
using namespace brume::apiserver;
using namespace brume::apiserver::core_test;

namespace {

const api::Resource& jobs() { return api::res("jobs.batch"); }

Json job(std::string_view name) {
  Json out = json(R"({"metadata":{},"spec":{"template":{"spec":{"restartPolicy":"Never",
    "containers":[{"name":"c","image":"i"}]}}}})");
  out["metadata"]["name"] = name;
  return out;
}

}  // namespace

TEST_CASE("a Job gets a selector of its own uid and labels to go with it") {
  Fixture f;
  f.run([&]() -> Task<void> {
    auto made = co_await f.registry->create(jobs(), "default", job("a"), {});
    REQUIRE(made);
    const Json spec = at((*made)->parse(), "spec");
    const auto& uid = (*made)->uid();
    CHECK(spec["selector"] == Json{{"matchLabels", {{"batch.kubernetes.io/controller-uid", uid}}}});
    CHECK(spec["template"]["metadata"]["labels"] == Json{{"batch.kubernetes.io/controller-uid", uid},
                                                         {"batch.kubernetes.io/job-name", "a"},
                                                         {"controller-uid", uid},
                                                         {"job-name", "a"}});
    Json wrong = job("b");
    wrong["spec"]["template"]["metadata"]["labels"]["job-name"] = "other";
    auto refused = co_await f.registry->create(jobs(), "default", wrong, {});
    CHECK(refused.error().code == Code::kInvalid);
    CHECK(why(refused).find("must be 'b'") != std::string::npos);
    Json manual = job("c");
    manual["spec"]["manualSelector"] = true;
    manual["spec"]["selector"]["matchLabels"]["app"] = "c";
    manual["spec"]["template"]["metadata"]["labels"]["app"] = "c";
    auto own = co_await f.registry->create(jobs(), "default", manual, {});
    REQUIRE(own);
    CHECK(at((*own)->parse(), "spec", "template", "metadata", "labels") == Json{{"app", "c"}});
  });
}

TEST_CASE("a StatefulSet that keeps all its revisions is warned of") {
  Fixture f;
  f.run([&]() -> Task<void> {
    const auto& sets = api::res("statefulsets.apps");
    const std::vector<std::string> expected = {
        "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"};
    std::vector<std::string> warnings;
    Json set = json(R"({"metadata":{"name":"s"},"spec":{"serviceName":"s","revisionHistoryLimit":0,
      "selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},
      "spec":{"containers":[{"name":"c","image":"i"}]}}}})");
    REQUIRE(co_await f.registry->create(sets, "default", set, {.dry_run = true, .warnings = &warnings}));
    CHECK(warnings.empty());
    set["spec"]["revisionHistoryLimit"] = -1;
    REQUIRE(co_await f.registry->create(sets, "default", set, {.warnings = &warnings}));
    CHECK(warnings == expected);
    warnings.clear();
    const auto scale = json(R"({"spec":{"replicas":2}})");
    REQUIRE(co_await f.registry->patch(sets, "default", "s", "", PatchType::kMerge, scale, {.warnings = &warnings}));
    CHECK(warnings == expected);
    warnings.clear();
    const auto status = json(R"({"status":{"replicas":2}})");
    REQUIRE(
        co_await f.registry->patch(sets, "default", "s", "status", PatchType::kMerge, status, {.warnings = &warnings}));
    CHECK(warnings.empty());
  });
}

TEST_CASE("names that make no host name, and Jobs that are too large, are warned of") {
  Fixture f;
  f.run([&]() -> Task<void> {
    std::vector<std::string> warnings;
    Json dotted = job("a.b");
    REQUIRE(co_await f.registry->create(jobs(), "default", dotted, {.warnings = &warnings}));
    REQUIRE(warnings.size() == 1);
    CHECK(warnings[0] ==
          "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS "
          "label is "
          "recommended: [must not contain dots]");
    warnings.clear();
    Json large = job("large");
    large["spec"].merge_patch({{"completionMode", "Indexed"}, {"completions", 100'001}, {"parallelism", 10'001}});
    REQUIRE(co_await f.registry->create(jobs(), "default", large, {.warnings = &warnings}));
    REQUIRE(warnings.size() == 1);
    CHECK(warnings[0].starts_with("spec: In Indexed Jobs with a number of completions higher than 10^5"));
  });
}

TEST_CASE("the last finalizer leaves nothing behind") {
  Fixture f;
  f.run([&]() -> Task<void> {
    Json held = job("a");
    held["metadata"]["finalizers"] = Json::array({"example.com/x"});
    REQUIRE(co_await f.registry->create(jobs(), "default", held, {}));
    auto freed = co_await f.registry->patch(
        jobs(), "default", "a", "", PatchType::kStrategic,
        json(R"({"metadata":{"$deleteFromPrimitiveList/finalizers":["example.com/x"]}})"), {});
    REQUIRE(freed);
    CHECK_FALSE(at((*freed)->parse(), "metadata").contains("finalizers"));
  });
}

TEST_CASE("a Job's status is checked, and is no new generation") {
  Fixture f;
  f.run([&]() -> Task<void> {
    REQUIRE(co_await f.registry->create(jobs(), "default", job("a"), {}));
    auto counted = co_await f.registry->patch(jobs(), "default", "a", "status", PatchType::kMerge,
                                              json(R"({"status":{"failed":2,"active":1}})"), {});
    REQUIRE(counted);
    CHECK((*counted)->generation() == 1);
    auto fewer = co_await f.registry->patch(jobs(), "default", "a", "status", PatchType::kMerge,
                                            json(R"({"status":{"failed":1}})"), {});
    CHECK(why(fewer) ==
          "Job.batch \"a\" is invalid: status.failed: Invalid value: 1: cannot decrease the failed counter");
    auto resized = co_await f.registry->patch(jobs(), "default", "a", "", PatchType::kMerge,
                                              json(R"({"spec":{"parallelism":2},"status":{"failed":9}})"), {});
    REQUIRE(resized);
    CHECK((*resized)->generation() == 2);
    CHECK(num(at((*resized)->parse(), "status"), "failed") == 2);
  });
}
