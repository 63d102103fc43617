// Indexed Jobs, and the policies of failure and success.
#include "job_bench.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

const Json& env_of(const Json& pod, const char* list) { return at(pod, "spec", list).at(0).at("env"); }

}  // namespace

TEST_CASE("an indexed Job gives each pod its index") {
  JobBench b;
  b.run([&]() -> Task<void> {
    Json work = job("work", {{"completions", 4}, {"parallelism", 2}, {"completionMode", "Indexed"}});
    work["spec"]["template"]["spec"]["initContainers"] = Json::array({{{"name", "i"}, {"image", "work:1"}}});
    b.api.seed("jobs.batch", work);
    co_await b.rest();
    REQUIRE(b.active().size() == 2);
    const auto first = b.of_index(0);
    REQUIRE(first);
    CHECK(first->name().starts_with("work-0-"));
    CHECK(first->label(kCompletionIndex) == "0");
    const Json pod = first->parse();
    CHECK(str(at(pod, "spec"), "hostname") == "work-0");
    for (const char* list : {"containers", "initContainers"}) {
      CHECK(str(env_of(pod, list).at(0), "name") == "JOB_COMPLETION_INDEX");
      CHECK(str(at(env_of(pod, list).at(0), "valueFrom", "fieldRef"), "fieldPath") ==
            "metadata.labels['batch.kubernetes.io/job-completion-index']");
    }
    CHECK_FALSE(at(pod, "metadata", "annotations").contains(std::string(kIndexFailures)));
    b.finish(b.of_index(1));
    co_await b.rest();
    CHECK(str(b.status(), "completedIndexes") == "1");
    CHECK(b.of_index(2));
    b.finish_all();
    co_await b.rest();
    CHECK(str(b.status(), "completedIndexes") == "0-2");
    CHECK_FALSE(b.status().contains("failedIndexes"));
    b.finish_all();
    co_await b.rest();
    CHECK(str(b.status(), "completedIndexes") == "0-3");
    CHECK(num(b.status(), "succeeded") == 4);
    CHECK(b.conditions() == "SuccessCriteriaMet,Complete");
  });
}

TEST_CASE("pods of an index that another has, or nobody wants, are deleted") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"completions", 3}, {"parallelism", 3}, {"completionMode", "Indexed"}}));
    co_await b.rest();
    Json twin = b.of_index(1)->parse();
    twin["metadata"]["name"] = "twin";
    twin["metadata"].erase("uid");
    Json stray = twin;
    stray["metadata"]["name"] = "stray";
    stray["metadata"]["annotations"].erase(std::string(kCompletionIndex));
    b.api.seed("pods", twin);
    b.api.seed("pods", stray);
    co_await b.rest();
    CHECK(b.active().size() == 3);
    CHECK(b.of_index(1));
    CHECK_FALSE(b.api.find("pods", "default", "stray"));
    b.edit_job([](Json& j) { j["spec"]["completions"] = j["spec"]["parallelism"] = 2; });
    co_await b.rest();
    CHECK(b.active().size() == 2);
    CHECK_FALSE(b.of_index(2));
    b.edit_job([](Json& j) { j["spec"]["completions"] = j["spec"]["parallelism"] = 4; });
    co_await b.rest();
    CHECK(b.of_index(3));
    b.finish_all();
    co_await b.rest();
    CHECK(str(b.status(), "completedIndexes") == "0-3");
  });
}

TEST_CASE("long names leave room for the index") {
  JobBench b;
  b.run([&]() -> Task<void> {
    const std::string name(60, 'x');
    b.api.seed("jobs.batch", job(name, {{"completionMode", "Indexed"}}));
    co_await b.rest();
    CHECK(b.active().front()->name().starts_with(std::string(55, 'x') + "-0-"));
  });
}

TEST_CASE("each index has its own limit and its own pause") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"completions", 3},
                                          {"parallelism", 3},
                                          {"completionMode", "Indexed"},
                                          {"backoffLimit", 2147483647},
                                          {"backoffLimitPerIndex", 1}}));
    co_await b.rest();
    CHECK(decode_job_pod(*b.of_index(0))->failures == 0);
    const auto failed = b.of_index(0);
    b.finish(failed, 1);
    co_await b.rest();
    CHECK_FALSE(b.of_index(0));
    CHECK(has_tracking_finalizer(*b.api.find("pods", "default", failed->name())));  // kept for its successor
    CHECK(num(b.status(), "failed") == 0);
    CHECK(str(b.status(), "failedIndexes").empty());
    CHECK(b.status().contains("failedIndexes"));
    b.clock.advance(10s);
    co_await b.rest();
    REQUIRE(b.of_index(0));
    CHECK(decode_job_pod(*b.of_index(0))->failures == 1);
    CHECK_FALSE(has_tracking_finalizer(*b.api.find("pods", "default", failed->name())));
    CHECK(num(b.status(), "failed") == 1);
    b.finish(b.of_index(0), 1);
    co_await b.rest();
    CHECK(str(b.status(), "failedIndexes") == "0");
    CHECK(num(b.status(), "failed") == 2);
    CHECK_FALSE(b.holds("FailureTarget"));
    b.finish_all();
    co_await b.rest();
    CHECK(str(b.status(), "completedIndexes") == "1,2");
    CHECK(b.conditions() == "FailureTarget,Failed");
    CHECK(str(b.condition("Failed"), "reason") == "FailedIndexes");
    CHECK(str(b.condition("Failed"), "message") == "Job has failed indexes");
  });
}

TEST_CASE("too many failed indexes fail the Job") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"completions", 4},
                                          {"parallelism", 4},
                                          {"completionMode", "Indexed"},
                                          {"backoffLimit", 2147483647},
                                          {"backoffLimitPerIndex", 0},
                                          {"maxFailedIndexes", 1}}));
    co_await b.rest();
    b.finish(b.of_index(2), 1);
    co_await b.rest();
    CHECK_FALSE(b.holds("FailureTarget"));
    b.finish(b.of_index(3), 1);
    co_await b.rest();
    CHECK(str(b.status(), "failedIndexes") == "2,3");
    CHECK(str(b.condition("Failed"), "reason") == "MaxFailedIndexesExceeded");
    CHECK(str(b.condition("Failed"), "message") == "Job has exceeded the specified maximal number of failed indexes");
    CHECK(b.active().empty());
  });
}

// Policies -----------------------------------------------------------------------------------------------------------

TEST_CASE("pod failure policy: fail, ignore, count") {
  JobBench b;
  b.run([&]() -> Task<void> {
    const Json rules = Json::array(
        {{{"action", "FailJob"}, {"onExitCodes", {{"containerName", "c"}, {"operator", "In"}, {"values", {42}}}}},
         {{"action", "Ignore"}, {"onPodConditions", Json::array({{{"type", "DisruptionTarget"}, {"status", "True"}}})}},
         {{"action", "Count"}, {"onExitCodes", {{"operator", "NotIn"}, {"values", {7}}}}}});
    b.api.seed("jobs.batch", job("work", {{"backoffLimit", 1},
                                          {"podReplacementPolicy", "Failed"},
                                          {"podFailurePolicy", {{"rules", rules}}}}));
    co_await b.rest();
    const auto disrupted = b.active().front();
    Json value = disrupted->parse();
    value["status"] = {{"phase", "Failed"},
                       {"conditions", Json::array({{{"type", "DisruptionTarget"}, {"status", "True"}}})}};
    b.api.seed("pods", value);
    co_await b.rest();
    b.clock.advance(10s);
    co_await b.rest();
    CHECK(num(b.status(), "failed") == 0);
    CHECK_FALSE(has_tracking_finalizer(*b.api.find("pods", "default", disrupted->name())));
    REQUIRE(b.active().size() == 1);
    b.finish_all(1);
    co_await b.rest();
    b.clock.advance(1min);
    co_await b.rest();
    CHECK(num(b.status(), "failed") == 1);
    REQUIRE(b.active().size() == 1);
    const auto fatal = b.active().front();
    b.finish(fatal, 42);
    co_await b.rest();
    CHECK(b.conditions() == "FailureTarget,Failed");
    CHECK(str(b.condition("Failed"), "reason") == "PodFailurePolicy");
    CHECK(str(b.condition("Failed"), "message") == "Container c for pod default/" + fatal->name() +
                                                       " failed with exit code 42 matching FailJob rule at index 0");
    CHECK(b.events("PodFailurePolicy").size() == 1);
  });
}

TEST_CASE("pod failure policy: FailIndex, and what is ignored lengthens the pause only") {
  JobBench b;
  b.run([&]() -> Task<void> {
    const Json rules = Json::array({{{"action", "FailIndex"}, {"onExitCodes", {{"operator", "In"}, {"values", {9}}}}},
                                    {{"action", "Ignore"}, {"onExitCodes", {{"operator", "In"}, {"values", {5}}}}}});
    b.api.seed("jobs.batch", job("work", {{"completions", 2},
                                          {"parallelism", 2},
                                          {"completionMode", "Indexed"},
                                          {"backoffLimit", 2147483647},
                                          {"backoffLimitPerIndex", 3},
                                          {"podReplacementPolicy", "Failed"},
                                          {"podFailurePolicy", {{"rules", rules}}}}));
    co_await b.rest();
    b.finish(b.of_index(0), 9);
    b.finish(b.of_index(1), 5);
    co_await b.rest();
    CHECK(str(b.status(), "failedIndexes") == "0");
    b.clock.advance(10s);
    co_await b.rest();
    REQUIRE(b.of_index(1));
    CHECK(decode_job_pod(*b.of_index(1))->failures == 0);
    CHECK(decode_job_pod(*b.of_index(1))->ignored_failures == 1);
    CHECK(num(b.status(), "failed") == 1);
    b.finish(b.of_index(1), 5);
    co_await b.rest();
    b.clock.advance(15s);
    co_await b.rest();
    CHECK_FALSE(b.of_index(1));
    b.clock.advance(5s);
    co_await b.rest();
    CHECK(b.of_index(1));
  });
}

TEST_CASE("success policy: the Job is done early, and what still runs is not counted") {
  JobBench b;
  b.run([&]() -> Task<void> {
    const Json rules = Json::array({{{"succeededCount", 4}}, {{"succeededIndexes", "0,2-3"}, {"succeededCount", 2}}});
    b.api.seed("jobs.batch", job("work", {{"completions", 5},
                                          {"parallelism", 5},
                                          {"completionMode", "Indexed"},
                                          {"successPolicy", {{"rules", rules}}}}));
    co_await b.rest();
    b.kubelet();
    co_await b.rest();
    b.finish(b.of_index(1));
    b.finish(b.of_index(2));
    co_await b.rest();
    CHECK(b.conditions().empty());
    b.finish(b.of_index(3));
    co_await b.rest();
    CHECK(b.conditions() == "SuccessCriteriaMet");
    CHECK(str(b.condition("SuccessCriteriaMet"), "reason") == "SuccessPolicy");
    CHECK(str(b.condition("SuccessCriteriaMet"), "message") == "Matched rules at index 1");
    CHECK(b.active().empty());
    CHECK(num(b.status(), "terminating") == 2);
    b.end_deleted();
    co_await b.rest();
    CHECK(b.conditions() == "SuccessCriteriaMet,Complete");
    CHECK(str(b.condition("Complete"), "reason") == "SuccessPolicy");
    CHECK(num(b.status(), "succeeded") == 3);
    CHECK(num(b.status(), "failed") == 0);
  });
}
