// The Job controller's parts: intervals of indexes, policies, back-off, when a pod ended.
#include "catch.h"
#include "job_backoff.h"
#include "job_indexes.h"
#include "job_policy.h"
#include "job_view.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

WallTime at_second(int second) { return WallTime(std::chrono::seconds(1'800'000'000 + second)); }

api::ObjectPtr pod_object(Json value) {
  value["metadata"].merge_patch({{"name", "p"}, {"namespace", "ns"}, {"creationTimestamp", "2026-01-01T00:00:00Z"}});
  auto object = api::Object::from_json(value);
  REQUIRE(object);
  return *object;
}

std::string finish_time(const Json& value) { return format_rfc3339(decode_job_pod(*pod_object(value))->finished); }

Json ended(const char* name, const char* time) {
  return {{"name", name}, {"state", {{"terminated", {{"exitCode", 0}, {"finishedAt", time}}}}}};
}

}  // namespace

TEST_CASE("indexes as text") {
  const auto round = [](const char* text, std::int64_t completions = 100) {
    return Indexes::parse(text, completions).text();
  };
  CHECK(round("") == "");
  CHECK(round("0") == "0");
  CHECK(round("1,3-5,7") == "1,3-5,7");
  CHECK(round("1-2,4") == "1,2,4");
  CHECK(round("1,2,3") == "1-3");
  CHECK(round("1,x,3-y,5") == "1,5");
  CHECK(round("1,5-20", 10) == "1,5-9");
  CHECK(round("1,10-20", 10) == "1");
  CHECK(Indexes({3, 4, 4, 5, 9}).text() == "3-5,9");
}

TEST_CASE("indexes as sets") {
  const auto a = Indexes::parse("0-2,5,8-9", 100);
  CHECK(a.total() == 6);
  CHECK(a.has(0));
  CHECK(a.has(5));
  CHECK(a.has(9));
  CHECK_FALSE(a.has(3));
  CHECK_FALSE(a.has(10));
  CHECK(a.merged(Indexes({3, 4, 7})).text() == "0-5,7-9");
  CHECK(a.merged(Indexes{}).text() == a.text());
  CHECK(a.overlap(Indexes::parse("1-5,9-20", 100)) == 4);
  CHECK(a.overlap(Indexes{}) == 0);
  CHECK(a.first_missing(3, 100) == std::vector<std::int64_t>{3, 4, 6});
  CHECK(a.first_missing(10, 8) == std::vector<std::int64_t>{3, 4, 6, 7});
  CHECK(Indexes{}.first_missing(2, 5) == std::vector<std::int64_t>{0, 1});
  CHECK(a.first_missing(0, 100).empty());
}

TEST_CASE("pod failure policy: which rule matches") {
  const auto judge = [](const Json& rule, const Json& status) {
    const auto pod = pod_object({{"status", status}});
    return judge_failure({{"rules", Json::array({rule})}}, *pod, *decode_job_pod(*pod)).action;
  };
  using Action = FailureVerdict::Action;
  const auto status = [](int code, const char* list = "containerStatuses") {
    return Json{{list, Json::array({{{"name", "main"}, {"state", {{"terminated", {{"exitCode", code}}}}}}})}};
  };
  const auto rule = [](const char* op, Json values, Json name = nullptr) {
    Json codes = {{"operator", op}, {"values", std::move(values)}};
    if (name.is_string()) codes["containerName"] = name;
    return Json{{"action", "FailJob"}, {"onExitCodes", codes}};
  };
  CHECK(judge(rule("In", {1, 2}), status(2)) == Action::kFailJob);
  CHECK(judge(rule("In", {1, 2}), status(3)) == Action::kNone);
  CHECK(judge(rule("NotIn", {1, 2}), status(3)) == Action::kFailJob);
  CHECK(judge(rule("NotIn", {1, 2}), status(0)) == Action::kNone);
  CHECK(judge(rule("In", {2}, "main"), status(2)) == Action::kFailJob);
  CHECK(judge(rule("In", {2}, "side"), status(2)) == Action::kNone);
  CHECK(judge(rule("In", {2}), status(2, "initContainerStatuses")) == Action::kFailJob);
  CHECK(judge(rule("In", {2}), {{"containerStatuses", Json::array({{{"name", "main"}}})}}) == Action::kNone);
  const Json condition = {{"action", "Ignore"},
                          {"onPodConditions", Json::array({{{"type", "DisruptionTarget"}, {"status", "True"}}})}};
  const auto with = [](const char* state) {
    return Json{{"conditions", Json::array({{{"type", "DisruptionTarget"}, {"status", state}}})}};
  };
  CHECK(judge(condition, with("True")) == Action::kIgnore);
  CHECK(judge(condition, with("False")) == Action::kNone);
  const auto pod = pod_object({{"status", with("True")}});
  Json fatal = condition;
  fatal["action"] = "FailJob";
  CHECK(judge_failure({{"rules", Json::array({rule("In", {1}), fatal})}}, *pod, *decode_job_pod(*pod)).message ==
        "Pod ns/p has condition DisruptionTarget matching FailJob rule at index 1");
  CHECK(judge_failure(Json(), *pod, *decode_job_pod(*pod)).counts());
}

TEST_CASE("success policy: which rule is met") {
  const auto met = [](const Json& rule, const char* succeeded) {
    return success_policy_met({{"rules", Json::array({rule})}}, 10, Indexes::parse(succeeded, 10)).value_or("no");
  };
  CHECK(met({{"succeededCount", 2}}, "1,7") == "Matched rules at index 0");
  CHECK(met({{"succeededCount", 3}}, "1,7") == "no");
  CHECK(met({{"succeededIndexes", "1-3"}}, "0-3") == "Matched rules at index 0");
  CHECK(met({{"succeededIndexes", "1-3"}}, "1,2") == "no");
  CHECK(met({{"succeededIndexes", "1-3"}, {"succeededCount", 2}}, "1,2") == "Matched rules at index 0");
  CHECK(met({{"succeededIndexes", "1-3"}, {"succeededCount", 2}}, "1,5-9") == "no");
  CHECK(met({{"succeededIndexes", "x"}}, "1") == "no");
  CHECK(met({{"succeededCount", 0}}, "") == "no");
}

TEST_CASE("back-off") {
  BackoffRecord record;
  CHECK(record.remaining(at_second(0)) == 0s);
  record = record.after({}, {at_second(0)});
  CHECK(record.remaining(at_second(1)) == 9s);
  CHECK(record.remaining(at_second(11)) == 0s);
  record = record.after({}, {at_second(30), at_second(20)});
  CHECK(record.failures == 3);
  CHECK(record.remaining(at_second(30)) == 40s);
  CHECK(record.after({}, {}).failures == 3);
  CHECK(record.after({at_second(40)}, {}).failures == 0);
  const auto mixed = record.after({at_second(40)}, {at_second(35), at_second(50), at_second(45)});
  CHECK(mixed.failures == 2);
  CHECK(*mixed.last_failure == at_second(50));
  CHECK(record.after({at_second(40)}, {at_second(40)}).failures == 0);
  const BackoffRecord many{.failures = 1'000'000, .last_failure = at_second(0)};
  CHECK(many.remaining(at_second(0)) == 10min);
  CHECK((BackoffRecord{.failures = 6, .last_failure = at_second(0)}).remaining(at_second(0)) == 320s);
  CHECK((BackoffRecord{.failures = 7, .last_failure = at_second(0)}).remaining(at_second(0)) == 10min);
}

TEST_CASE("when a pod ended") {
  CHECK(finish_time({{"status",
                      {{"containerStatuses",
                        Json::array({ended("a", "2026-01-01T00:01:00Z"), ended("b", "2026-01-01T00:03:00Z")})}}}}) ==
        "2026-01-01T00:03:00Z");
  const Json ready = {{"type", "Ready"}, {"status", "False"}, {"lastTransitionTime", "2026-01-01T00:05:00Z"}};
  CHECK(finish_time({{"status",
                      {{"conditions", Json::array({ready})},
                       {"containerStatuses", Json::array({ended("a", "2026-01-01T00:01:00Z"), {{"name", "b"}}})}}}}) ==
        "2026-01-01T00:05:00Z");
  const Json sidecar = {
      {"initContainers", Json::array({{{"name", "s"}, {"restartPolicy", "Always"}}, {{"name", "i"}}})}};
  CHECK(finish_time({{"spec", sidecar},
                     {"status",
                      {{"initContainerStatuses",
                        Json::array({ended("s", "2026-01-01T00:09:00Z"), ended("i", "2026-01-01T00:30:00Z")})},
                       {"containerStatuses", Json::array({ended("a", "2026-01-01T00:01:00Z")})}}}}) ==
        "2026-01-01T00:09:00Z");
  CHECK(finish_time(
            {{"metadata", {{"deletionTimestamp", "2026-01-01T00:10:00Z"}, {"deletionGracePeriodSeconds", 30}}}}) ==
        "2026-01-01T00:09:30Z");
  CHECK(finish_time(Json::object()) == "2026-01-01T00:00:00Z");
}

TEST_CASE("counts in annotations that make no sense count as none") {
  const auto decoded = [](const char* value) {
    return decode_job_pod(
        *pod_object({{"metadata", {{"annotations", {{kIndexFailures, value}, {kCompletionIndex, value}}}}}}));
  };
  CHECK(decoded("3")->failures == 3);
  CHECK(decoded("-3")->failures == 0);
  CHECK(decoded("-3")->index == -1);
  CHECK(decoded("x")->failures == 0);
  CHECK(decoded("99999999999")->failures == 0);
}

TEST_CASE("a Job's status is written as Kubernetes writes it") {
  CHECK(JobStatus{}.encode() == Json{{"ready", 0}, {"terminating", 0}, {"uncountedTerminatedPods", Json::object()}});
  const Json full = {{"active", 1},
                     {"succeeded", 2},
                     {"failed", 3},
                     {"ready", 1},
                     {"terminating", 4},
                     {"completedIndexes", "0,1"},
                     {"failedIndexes", ""},
                     {"startTime", "2026-01-01T00:00:00Z"},
                     {"completionTime", "2026-01-01T00:01:00Z"},
                     {"uncountedTerminatedPods", {{"succeeded", {"a"}}, {"failed", {"b", "c"}}}},
                     {"conditions", Json::array({{{"type", "Complete"}, {"status", "True"}}})}};
  CHECK(JobStatus::decode(full).encode() == full);
}
