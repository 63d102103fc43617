// The rules of Jobs: their spec, policies, what may change, and what their status may say.
#include "validation_fixture.h"

using namespace brume;
using namespace brume::api;

namespace {

constexpr const char* kJob = R"({"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a","namespace":"n"},
  "spec":{"manualSelector":true,"selector":{"matchLabels":{"job":"a"}},"template":{"metadata":{"labels":{"job":"a"}},
  "spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}],"initContainers":[{"name":"i","image":"i"}]}}}})";
constexpr const char* kIndexed = R"({"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a","namespace":"n"},
  "spec":{"manualSelector":true,"selector":{"matchLabels":{"job":"a"}},"completionMode":"Indexed","completions":4,
  "parallelism":4,"template":{"metadata":{"labels":{"job":"a"}},
  "spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}})";
constexpr const char* kGenerated = R"({"apiVersion":"batch/v1","kind":"Job",
  "metadata":{"name":"a","namespace":"n","uid":"u"},
  "spec":{"selector":{"matchLabels":{"batch.kubernetes.io/controller-uid":"u"}},
  "template":{"metadata":{"labels":{"controller-uid":"u","job-name":"a","batch.kubernetes.io/controller-uid":"u",
  "batch.kubernetes.io/job-name":"a"}},"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}})";

// A merge patch of the spec with one pod failure rule.
std::string rule(const std::string& text) { return R"({"spec":{"podFailurePolicy":{"rules":[)" + text + "]}}}"; }
std::string success(const std::string& text) { return R"({"spec":{"successPolicy":{"rules":[)" + text + "]}}}"; }

std::vector<std::string> faults(const char* base, const std::string& patch) {
  const auto& resource = res("jobs.batch");
  return lines(validate_create(resource, made(resource, base, patch)));
}
using Lines = std::vector<std::string>;

// Faults of a status write from `old` to `now` (patches of the status).
Lines status_faults(const char* base, const std::string& old, const std::string& now) {
  const auto& resource = res("jobs.batch");
  const Json before = made(resource, base, R"({"status":)" + old + "}");
  Json after = before;
  after["status"] = json_of(now);
  return lines(validate_status_update(resource, after, before));
}

std::string condition(const char* type, const char* status = "True") {
  return std::string(R"({"type":")") + type + R"(","status":")" + status + R"("})";
}
std::string conditions(std::initializer_list<const char*> types) {
  std::string out;
  for (const char* type : types) out += (out.empty() ? "" : ",") + condition(type);
  return R"("conditions":[)" + out + "]";
}

}  // namespace

TEST_CASE("a Job's generated selector and labels") {
  check_all(
      "jobs.batch", kGenerated,
      {{R"({"metadata":{"uid":null},"spec":{"template":{"metadata":{"labels":{"controller-uid":""}}}}})",
        {"metadata.uid: Required value",
         "spec.template.metadata.labels[batch.kubernetes.io/controller-uid]: Invalid value: "
         R"({"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"a","controller-uid":"",)"
         R"("job-name":"a"}: must be '')",
         "spec.selector: Invalid value: {\"matchLabels\":{\"batch.kubernetes.io/controller-uid\":\"u\"}}: "
         "`selector` not auto-generated"}},
       {R"({"spec":{"template":{"metadata":{"labels":{"job-name":null}}}}})",
        {"spec.template.metadata.labels[job-name]: Required value: must be 'a'"}},
       {R"({"spec":{"selector":{"matchLabels":{"x":"y"}}}})",
        {"spec.selector: Invalid value: {\"matchLabels\":{\"batch.kubernetes.io/controller-uid\":\"u\",\"x\":\"y\"}}"
         ": `selector` not auto-generated",
         "spec.template.metadata.labels: Invalid value: "
         R"({"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"a","controller-uid":"u",)"
         R"("job-name":"a"}: `selector` does not match template `labels`)"}}});
}

TEST_CASE("a Job's numbers and names") {
  check_all("jobs.batch", kJob,
            {{R"({"spec":{"maxFailedIndexes":1}})",
              {"spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
               "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode"}},
             {R"({"spec":{"managedBy":"other"}})",
              {"spec.managedBy: Invalid value: \"other\": must be a domain-prefixed path (such as \"acme.io/foo\")"}},
             {R"({"spec":{"managedBy":"acme.io/a b"}})",
              {"spec.managedBy: Invalid value: \"a b\": Invalid path (regex used for validation is "
               "'[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')"}},
             {R"({"spec":{"podReplacementPolicy":"X"}})",
              {"spec.podReplacementPolicy: Unsupported value: \"X\": supported values: \"Failed\", "
               "\"TerminatingOrFailed\""}},
             {R"({"spec":{"successPolicy":{"rules":[{"succeededCount":1}]}}})",
              {"spec.successPolicy: Invalid value: {\"rules\":[{\"succeededCount\":1}]}: requires indexed completion "
               "mode"}}});
  check_all(
      "jobs.batch", kIndexed,
      {{R"({"spec":{"parallelism":100001}})",
        {"spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is "
         "Indexed"}},
       {R"({"spec":{"backoffLimitPerIndex":1,"maxFailedIndexes":5}})",
        {"spec.maxFailedIndexes: Invalid value: 5: must be less than or equal to completions"}},
       {R"({"spec":{"completions":100001,"backoffLimitPerIndex":1}})",
        {"spec.maxFailedIndexes: Required value: must be specified when completions is above 100000"}},
       {R"({"spec":{"completions":100001,"backoffLimitPerIndex":1,"maxFailedIndexes":10001,"parallelism":10001}})",
        {"spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above "
         "100000 and "
         "used with backoff limit per index",
         "spec.maxFailedIndexes: Invalid value: 10001: must be less than or equal to 10000 when completions are above "
         "100000 and used with backoff limit per index"}},
       {R"({"metadata":{"name":"a.b"}})",
        {"metadata.name: Invalid value: \"a.b\": will not able to create pod with invalid DNS label: a.b-3"}}});
}

TEST_CASE("pod failure policies") {
  CHECK(faults(kJob,
               rule(R"({"action":"FailJob","onExitCodes":{"containerName":"i","operator":"In","values":[1,2]}})")) ==
        Lines{});
  CHECK(
      faults(kJob, rule(R"({"action":"","onExitCodes":{"operator":"","values":[]}})")) ==
      Lines{
          R"(spec.podFailurePolicy.rules[0].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"])",
          R"(spec.podFailurePolicy.rules[0].onExitCodes.operator: Required value: valid values: ["In" "NotIn"])",
          "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: []: at least one value is required"});
  CHECK(
      faults(kJob,
             rule(R"({"action":"FailIndex","onExitCodes":{"containerName":"x","operator":"In","values":[3,0,3]}})")) ==
      Lines{"spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to "
            "be "
            "set",
            "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"x\": must be one of the "
            "container "
            "or initContainer names in the pod template",
            "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
            "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 3",
            "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,0,3]: must be ordered"});
  CHECK(faults(kJob, rule(R"({"action":"Ignore"})")) ==
        Lines{"spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is "
              "required"});
  CHECK(faults(kJob, rule(R"({"action":"Ignore","onPodConditions":[{"type":"a b","status":"X"}],
                             "onExitCodes":{"operator":"In","values":[1]}})"))
            .back() ==
        "spec.podFailurePolicy.rules[0]: Invalid value: specifying both OnExitCodes and OnPodConditions is not "
        "supported");
  CHECK(faults(kJob, R"({"spec":{"podFailurePolicy":{"rules":[]},"podReplacementPolicy":"TerminatingOrFailed",
                        "template":{"spec":{"restartPolicy":"OnFailure"}}}})") ==
        Lines{"spec.podReplacementPolicy: Unsupported value: \"TerminatingOrFailed\": supported values: \"Failed\"",
              "spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when "
              "podFailurePolicy is specified"});
}

TEST_CASE("success policies") {
  CHECK(faults(kIndexed, success(R"({"succeededIndexes":"0-2","succeededCount":2})")) == Lines{});
  CHECK(
      faults(kIndexed, R"({"spec":{"successPolicy":{"rules":[]}}})") ==
      Lines{"spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is "
            "specified"});
  const auto first = [](const std::string& text) { return faults(kIndexed, success(text)).at(0); };
  const std::string path = "spec.successPolicy.rules[0]";
  CHECK(first("{}") == path + ": Required value: at least one of succeededCount or succeededIndexes must be specified");
  CHECK(first(R"({"succeededCount":5})") ==
        path +
            ".succeededCount: Invalid value: 5: must be less than or equal to 4 (the number of specified completions)");
  CHECK(
      first(R"({"succeededIndexes":"0-1","succeededCount":3})") ==
      path +
          ".succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified "
          "succeededIndexes field)");
  const auto parsing = [&](const std::string& text) {
    return first(R"({"succeededIndexes":")" + text + "\"}")
        .substr((path + ".succeededIndexes: Invalid value: ").size());
  };
  CHECK(parsing("1,1") == R"("1,1": error parsing succeededIndexes: non-increasing order, previous: 1, current: 1)");
  CHECK(parsing("3-2") == R"("3-2": error parsing succeededIndexes: non-increasing order, previous: 3, current: 2)");
  CHECK(parsing("4") == R"("4": error parsing succeededIndexes: too large index: "4")");
  CHECK(parsing("x") == R"("x": error parsing succeededIndexes: cannot convert string to integer for index: "x")");
  CHECK(parsing("1-2-3") ==
        R"("1-2-3": error parsing succeededIndexes: the fragment "1-2-3" violates the requirement that an )"
        "index interval can have at most two parts separated by '-'");
}

TEST_CASE("what may change of a Job") {
  check_updates("jobs.batch", kJob,
                {{R"({"spec":{"completionMode":"Indexed"}})",
                  {"spec.completionMode: Invalid value: \"Indexed\": field is immutable"}},
                 {R"({"spec":{"suspend":true,"completions":1,"parallelism":5,"activeDeadlineSeconds":3}})", {}}});
  check_updates("jobs.batch", kIndexed,
                {{R"({"spec":{"completions":6,"parallelism":6}})", {}},
                 {R"({"spec":{"completions":6}})",
                  {"spec.completions: Invalid value: 6: can only be modified in tandem with spec.parallelism"}}});
}

TEST_CASE("a suspended Job's template may change while no pod runs") {
  const auto& resource = res("jobs.batch");
  constexpr const char* kPlacement =
      R"({"spec":{"template":{"metadata":{"labels":{"x":"y"}},"spec":{"nodeSelector":{"a":"b"},
    "tolerations":[{"key":"k","operator":"Exists"}],"affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":
    [{"weight":1,"preference":{"matchExpressions":[{"key":"a","operator":"Exists"}]}}]}}}}}})";
  constexpr const char* kResources =
      R"({"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i","resources":{"requests":{"cpu":"1"}}}]}}}})";
  constexpr const char* kImage = R"({"spec":{"template":{"spec":{"containers":[{"name":"c","image":"j"}]}}}})";
  const auto update = [&](const char* old, const char* change) {
    Json before = made(resource, kIndexed, old);
    Json after = before;
    after.merge_patch(json_of(change));
    apply_defaults(resource, after);
    return validate_update(resource, after, before).size();
  };
  constexpr const char* kFresh = R"({"spec":{"suspend":true}})";
  constexpr const char* kStopped =
      R"({"spec":{"suspend":true},"status":{"startTime":"2026-01-01T00:00:00Z","conditions":[{"type":"Suspended","status":"True"}]}})";
  constexpr const char* kStopping =
      R"({"spec":{"suspend":true},"status":{"startTime":"2026-01-01T00:00:00Z","active":1}})";
  for (const char* change : {kPlacement, kResources}) {
    CHECK(update(kFresh, change) == 0);
    CHECK(update(kStopped, change) == 0);
    CHECK(update(kStopping, change) == 1);
    CHECK(update("{}", change) == 1);
  }
  CHECK(update(kFresh, kImage) == 1);
  CHECK(update(kFresh, R"({"spec":{"template":{"spec":{"affinity":{"podAffinity":{}}}}}})") == 0);
}

TEST_CASE("what a Job's status may say") {
  const std::string start = R"("startTime":"2026-01-01T00:00:00Z")";
  const std::string end = R"("completionTime":"2026-01-01T00:01:00Z")";
  const auto one = [&](const std::string& old, const std::string& now) {
    const auto found = status_faults(kJob, "{" + old + "}", "{" + now + "}");
    return found.empty() ? std::string("fine") : found.front();
  };
  const std::string done = start + "," + end + "," + conditions({"SuccessCriteriaMet", "Complete"});
  CHECK(one("", start + R"(,"active":1,"ready":0)") == "fine");
  CHECK(one(start, done) == "fine");
  CHECK(one(done, done) == "fine");
  CHECK(one("", R"("active":-1)") == "status.active: Invalid value: -1: must be greater than or equal to 0");
  CHECK(one("", R"("uncountedTerminatedPods":{"succeeded":["a",""],"failed":["a"]})") ==
        "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty");
  CHECK(one("", R"("uncountedTerminatedPods":{"succeeded":["a"],"failed":["a"]})") ==
        "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"");
  const std::string c = "status.conditions: Invalid value: ";
  CHECK(one(start, start + "," + end + "," + conditions({"Complete"})) ==
        c + "cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
  CHECK(one(start, start + "," + conditions({"Failed"})) ==
        c + "cannot set Failed=True condition without the FailureTarget=true condition");
  CHECK(one(start, start + "," + conditions({"FailureTarget", "SuccessCriteriaMet"})) ==
        c + "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
  CHECK(one(done, start + "," + end + "," + conditions({"SuccessCriteriaMet"})) ==
        "status.completionTime: Invalid value: \"2026-01-01T00:01:00Z\": cannot set completionTime when there is no "
        "Complete=True condition");
  CHECK(one(start + "," + conditions({"FailureTarget"}), start) ==
        c + "cannot disable the terminal FailureTarget=True condition");
  CHECK(one(start + "," + conditions({"SuccessCriteriaMet"}), start) ==
        c + "cannot disable the SuccessCriteriaMet=True condition");
  CHECK(one(start, start + "," + conditions({"SuccessCriteriaMet", "Complete"})) ==
        "status.completionTime: Required value: completionTime is required for Complete jobs");
  CHECK(one("", end + "," + conditions({"SuccessCriteriaMet", "Complete"})) ==
        "status.startTime: Required value: startTime is required for finished job");
  CHECK(one(start, done + R"(,"active":1)") == "status.active: Invalid value: 1: active>0 is invalid for finished job");
  CHECK(one(start, done + R"(,"terminating":1)") ==
        "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job");
  CHECK(one(start, done + R"(,"uncountedTerminatedPods":{"failed":["x"]})") ==
        "status.uncountedTerminatedPods: Invalid value: {\"failed\":[\"x\"]}: must be empty for finished job");
  CHECK(one("", R"("ready":2,"active":1)") == "status.ready: Invalid value: 2: cannot set more ready pods than active");
  CHECK(one(R"("failed":2)", R"("failed":1)") == "status.failed: Invalid value: 1: cannot decrease the failed counter");
  CHECK(one(R"("succeeded":2)", R"("succeeded":1)") ==
        "status.succeeded: Invalid value: 1: cannot decrease the succeeded counter");
  CHECK(one("", R"("completedIndexes":"0")") ==
        "status.completedIndexes: Invalid value: \"0\": cannot set non-empty completedIndexes when non-indexed "
        "completion "
        "mode");
  CHECK(one("", R"("failedIndexes":"0")") ==
        "status.failedIndexes: Invalid value: \"0\": cannot set non-null failedIndexes when backoffLimitPerIndex is "
        "null");
  const std::string later = R"("startTime":"2026-01-01T00:00:30Z")";
  CHECK(one(start, later) ==
        "status.startTime: Invalid value: \"2026-01-01T00:00:30Z\": field is immutable for unsuspended job once set");
  CHECK(one(start + R"(,"conditions":[)" + condition("Suspended") + "]",
            later + R"(,"conditions":[)" + condition("Suspended", "False") + "]") == "fine");
  CHECK(one(done,
            start + R"(,"completionTime":"2026-01-01T00:02:00Z",)" + conditions({"SuccessCriteriaMet", "Complete"})) ==
        "status.completionTime: Invalid value: \"2026-01-01T00:02:00Z\": field is immutable");
}

TEST_CASE("an indexed Job's status") {
  const std::string with_limit =
      R"({"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a","namespace":"n"},"spec":{"completionMode":"Indexed",
         "completions":6,"parallelism":6,"backoffLimitPerIndex":1,"template":{}}})";
  const auto one = [&](const std::string& now) {
    const auto found = status_faults(with_limit.c_str(), "{}", "{" + now + "}");
    return found.empty() ? std::string("fine") : found.front();
  };
  CHECK(one(R"("completedIndexes":"0,2-4","failedIndexes":"1,5")") == "fine");
  CHECK(one(R"("completedIndexes":"6")") ==
        "status.completedIndexes: Invalid value: \"6\": error parsing completedIndexes: too large index: \"6\"");
  CHECK(one(R"("failedIndexes":"2,1")") ==
        "status.failedIndexes: Invalid value: \"2,1\": error parsing failedIndexes: non-increasing order, previous: 2, "
        "current: 1");
  CHECK(one(R"("completedIndexes":"0,2-4","failedIndexes":"1,3-5")") ==
        "status.failedIndexes: Invalid value: \"1,3-5\": failedIndexes and completedIndexes overlap at index: 3");
  CHECK(status_faults(with_limit.c_str(), R"({"succeeded":3})", R"({"succeeded":2})").empty());
}

TEST_CASE("a CronJob's schedule and zone") {
  constexpr const char* kCronJob = R"({"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"a","namespace":"n"},
    "spec":{"schedule":"0 * * * *","jobTemplate":{"spec":{"template":{
    "spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}}})";
  check_all(
      "cronjobs.batch", kCronJob,
      {{R"({"spec":{"timeZone":"UTC","schedule":"@every 5m"}})", {}},
       {R"({"spec":{"timeZone":""}})",
        {"spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"}},
       {R"({"spec":{"timeZone":"Nowhere/Land"}})",
        {"spec.timeZone: Invalid value: \"Nowhere/Land\": unknown time zone Nowhere/Land"}},
       {R"({"spec":{"timeZone":"Nowhere/../Land"}})",
        {"spec.timeZone: Invalid value: \"Nowhere/../Land\": unknown time zone Nowhere/../Land"}},
       {R"({"spec":{"timeZone":"Local"}})",
        {"spec.timeZone: Invalid value: \"Local\": timeZone must be an explicit time zone as defined in "
         "https://www.iana.org/time-zones"}},
       {R"({"spec":{"schedule":"TZ=0"}})",
        {"spec.schedule: Invalid value: \"TZ=0\": invalid schedule format: runtime error: slice bounds out of range "
         "[:-1]",
         "spec.schedule: Invalid value: \"TZ=0\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"}},
       {R"({"spec":{"jobTemplate":{"spec":{"manualSelector":true,"selector":{"matchLabels":{"a":"b"}}}}}})",
        {"spec.jobTemplate.spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` will be "
         "auto-generated",
         "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\""}},
       {R"({"metadata":{"name":"a012345678901234567890123456789012345678901234567890"}})", {}},
       {R"({"metadata":{"name":"a0123456789012345678901234567890123456789012345678901"}})",
        {"metadata.name: Invalid value: \"a0123456789012345678901234567890123456789012345678901\": must be no more "
         "than 52 characters"}}});
  // One that has a zone in its schedule already may keep it.
  const auto& resource = res("cronjobs.batch");
  const Json old = made(resource, kCronJob, R"({"spec":{"schedule":"TZ=UTC 0 * * * *"}})");
  CHECK(validate_update(resource, made(resource, kCronJob, R"({"spec":{"schedule":"CRON_TZ=UTC 5 * * * *"}})"), old)
            .empty());
  CHECK(lines(validate_update(
            resource, made(resource, kCronJob, R"({"spec":{"schedule":"TZ=UTC 5 * * * *","timeZone":"UTC"}})"), old)) ==
        Lines{"spec.schedule: Invalid value: \"TZ=UTC 5 * * * *\": cannot use both timeZone field and TZ or CRON_TZ in "
              "schedule"});
}
