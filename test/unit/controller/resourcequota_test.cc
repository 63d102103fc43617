#include "bench.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

Json quota(Json hard, const std::string& name = "q") {
  return {{"metadata", {{"name", name}}}, {"spec", {{"hard", std::move(hard)}}}};
}

Json status(const Bench& b, const char* name = "q") {
  return at(b.api.json("resourcequotas", "default", name), "status");
}
std::string used(const Bench& b, const char* what, const char* name = "q") {
  return std::string(str(at(status(b, name), "used"), what));
}

Json sized_pod(const std::string& name, const std::string& cpu) {
  return {
      {"metadata", {{"name", name}}},
      {"spec",
       {{"containers",
         Json::array({{{"name", "c"}, {"resources", {{"requests", {{"cpu", cpu}}}, {"limits", {{"cpu", "2"}}}}}}})}}},
      {"status", {{"phase", "Running"}}}};
}

}  // namespace

TEST_CASE("a quota's status tells what is used of what the spec names") {
  Bench b({make_resource_quota});
  b.run([&]() -> Task<void> {
    b.api.seed("pods", sized_pod("a", "500m"));
    b.api.seed("configmaps", {{"metadata", {{"name", "c"}}}});
    b.api.seed("deployments.apps", deployment("d", 1));
    b.api.seed("resourcequotas", quota({{"pods", "5"},
                                        {"requests.cpu", "2"},
                                        {"limits.cpu", "8"},
                                        {"configmaps", "3"},
                                        {"count/deployments.apps", "1"},
                                        {"example.com/none", "1"}}));
    co_await b.rest();
    CHECK(at(status(b), "hard") == at(b.api.json("resourcequotas", "default", "q"), "spec", "hard"));
    CHECK(used(b, "pods") == "1");
    CHECK(used(b, "requests.cpu") == "500m");
    CHECK(used(b, "limits.cpu") == "2");
    CHECK(used(b, "configmaps") == "1");
    CHECK(used(b, "count/deployments.apps") == "1");
    CHECK_FALSE(at(status(b), "used").contains("example.com/none"));
    CHECK_FALSE(at(status(b), "used").contains("secrets"));

    b.api.seed("pods", sized_pod("b", "250m"));
    co_await b.rest(15);
    CHECK(used(b, "pods") == "2");
    CHECK(used(b, "requests.cpu") == "750m");
    b.api.set_status("pods", "default", "b", {{"phase", "Succeeded"}});
    b.api.erase("configmaps", "default", "c");
    co_await b.rest();
    CHECK(used(b, "pods") == "1");
    CHECK(used(b, "configmaps") == "0");
    b.api.erase("pods", "default", "a");
    co_await b.rest();
    CHECK(used(b, "requests.cpu") == "0");

    const auto writes = b.api.count("update", "resourcequotas", "status");
    b.clock.advance(20min);
    co_await b.rest();
    CHECK(b.api.count("update", "resourcequotas", "status") == writes);  // nothing changed
  });
}

TEST_CASE("another spec, and a status that somebody has written, are mended") {
  Bench b({make_resource_quota});
  b.run([&]() -> Task<void> {
    b.api.seed("resourcequotas", quota({{"pods", "5"}, {"secrets", "1"}}));
    co_await b.rest();
    CHECK(used(b, "secrets") == "0");
    b.edit("resourcequotas", "default", "q", [](Json& q) { q["spec"]["hard"] = {{"pods", "7"}}; });
    co_await b.rest();
    CHECK(str(at(status(b), "hard"), "pods") == "7");
    CHECK_FALSE(at(status(b), "used").contains("secrets"));
    b.api.set_status("resourcequotas", "default", "q", {{"hard", {{"pods", "100"}}}, {"used", {{"pods", "9"}}}});
    co_await b.rest();
    CHECK(str(at(status(b), "hard"), "pods") == "100");  // let it be seen
    b.clock.advance(5s);
    co_await b.rest();
    CHECK(str(at(status(b), "hard"), "pods") == "7");
    CHECK(used(b, "pods") == "0");
  });
}

TEST_CASE("a pod whose grace has passed uses nothing any more") {
  Bench b({make_resource_quota});
  b.run([&]() -> Task<void> {
    b.api.seed("pods", sized_pod("a", "1"));
    b.api.seed("resourcequotas", quota({{"pods", "5"}, {"count/pods", "5"}}));
    co_await b.rest();
    b.edit("pods", "default", "a", [&](Json& pod) {
      pod["metadata"]["deletionTimestamp"] = format_rfc3339(b.clock.now() + 30s);
      pod["metadata"]["deletionGracePeriodSeconds"] = 30;
    });
    co_await b.rest();
    CHECK(used(b, "pods") == "1");
    b.clock.advance(62s);  // the timestamp already holds the grace; Kubernetes adds it once more
    co_await b.rest();
    CHECK(used(b, "pods") == "0");
    CHECK(used(b, "count/pods") == "1");
  });
}

TEST_CASE("scopes choose what a quota counts") {
  Bench b({make_resource_quota});
  b.run([&]() -> Task<void> {
    b.api.seed("pods", sized_pod("burst", "1"));
    b.api.seed("pods", {{"metadata", {{"name", "effort"}}},
                        {"spec", {{"containers", Json::array({{{"name", "c"}}})}, {"activeDeadlineSeconds", 5}}}});
    const auto scoped = [&](const char* name, Json scopes) {
      Json q = quota({{"pods", "5"}}, name);
      q["spec"]["scopes"] = std::move(scopes);
      b.api.seed("resourcequotas", std::move(q));
    };
    scoped("effort", Json::array({"BestEffort"}));
    scoped("other", Json::array({"NotBestEffort"}));
    scoped("ending", Json::array({"Terminating"}));
    scoped("none", Json::array({"Terminating", "NotBestEffort"}));
    co_await b.rest();
    CHECK(used(b, "pods", "effort") == "1");
    CHECK(used(b, "pods", "other") == "1");
    CHECK(used(b, "pods", "ending") == "1");
    CHECK(used(b, "pods", "none") == "0");
    // A pod that changes its scope leaves one quota and comes to another, at once.
    b.edit("pods", "default", "burst", [](Json& pod) { pod["spec"]["activeDeadlineSeconds"] = 3600; });
    co_await b.rest(15);
    CHECK(used(b, "pods", "ending") == "2");
    CHECK(used(b, "pods", "none") == "1");
  });
}
