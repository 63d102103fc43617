// The plan's parser, the compiler's errors and cgroup values: no process is started.
#include "brume/base/json.h"
#include "brume/runtime/defaults.h"
#include "catch.h"
#include "cgroup_resources.h"
#include "compiler.h"
#include "mount_options.h"
#include "plan_writer.h"
#include "seccomp_compiler.h"

namespace brume::runtime {
namespace {

bool parses(std::string plan) {
  plan.reserve(plan.size() + 8);
  return shim::check_plan(reinterpret_cast<const std::uint8_t*>(plan.data()), plan.size());
}

std::string small_plan() {
  PlanWriter plan;
  plan.add(shim::kOpDirectory, FieldWriter().str("/"));
  std::vector<std::string> argv = {"/bin/true", "x"};
  plan.add(shim::kOpExec, FieldWriter().str("/bin/true").strings(argv).strings({}));
  return plan.finish(0, 0);
}

}  // namespace

TEST_CASE("a plan is read only when whole and exact", "[plan]") {
  std::string good = small_plan();
  CHECK(parses(good));
  for (std::size_t n = 0; n < good.size(); ++n) CHECK(!parses(good.substr(0, n)));
  CHECK(!parses(good + std::string(4, '\0')));
  for (std::size_t i = 0; i < good.size(); ++i) {  // must not crash; most are refused
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x41);
    (void)parses(bad);
  }
  PlanWriter no_exec;
  no_exec.add(shim::kOpDirectory, FieldWriter().str("/"));
  CHECK(!parses(no_exec.finish(0, 0)));
  PlanWriter bad_slot;
  bad_slot.add(shim::kOpAttach, FieldWriter().u32(shim::kMaxSources).str("/x").u64(0).u64(0).u32(0).u32(0));
  std::vector<std::string> argv = {"x"};
  bad_slot.add(shim::kOpExec, FieldWriter().str("x").strings(argv).strings({}));
  CHECK(!parses(bad_slot.finish(0, 0)));
}

TEST_CASE("a default spec compiles to a plan", "[plan]") {
  ContainerSpec spec;
  spec.oci = default_spec();
  spec.oci["process"]["args"] = {"sh"};
  spec.layers = {"/layer"};
  spec.writable_dir = "/w";
  auto plan = compile_container(spec, {});
  REQUIRE((plan ? "" : plan.error().message) == "");
  CHECK(parses(*plan));
  CHECK(plan->size() < 64 * 1024);
  spec.oci["process"]["args"] = Json::array();
  CHECK(compile_container(spec, {}).error().message == "process.args: names no program");
  spec.oci["process"]["args"] = {std::string("a\0b", 3)};
  CHECK(!compile_container(spec, {}).has_value());
}

TEST_CASE("mount options", "[plan]") {
  auto options = parse_mount_options({"rbind", "ro", "nosuid", "rw", "rslave", "rro", "noatime"}, "m");
  REQUIRE(options.has_value());
  CHECK(options->bind);
  CHECK(options->recursive_bind);
  CHECK(options->set == (0x2 | 0x10));
  CHECK((options->clear & 1) == 1);
  CHECK(options->set_all == 1);
  CHECK(options->propagation == 1U << 19);
  CHECK(parse_mount_options({"size=1k", "mode=700"}, "m")->data.size() == 2);
  CHECK(!parse_mount_options({"bind", "size=1k"}, "m").has_value());
  CHECK(!parse_mount_options({"idmap"}, "m").has_value());
}

TEST_CASE("resources become cgroup v2 values", "[plan]") {
  auto settings = cgroup_settings({{"memory", {{"limit", 1000}, {"swap", 1500}, {"reservation", 10}}},
                                   {"cpu", {{"shares", 1024}, {"quota", 5000}, {"period", 10000}}},
                                   {"pids", {{"limit", -1}}},
                                   {"unified", {{"memory.high", "900"}}}});
  REQUIRE(settings.has_value());
  auto value = [&](std::string_view file) {
    for (const auto& setting : *settings) {
      if (setting.file == file) return setting.value;
    }
    return std::string("?");
  };
  CHECK(value("memory.max") == "1000");
  CHECK(value("memory.swap.max") == "500");
  CHECK(value("memory.low") == "10");
  CHECK(value("cpu.weight") == "39");
  CHECK(value("cpu.max") == "5000 10000");
  CHECK(value("pids.max") == "max");
  CHECK(value("memory.high") == "900");
  CHECK(!cgroup_settings({{"memory", {{"limit", 10}, {"swap", 5}}}}).has_value());
  CHECK(!cgroup_settings({{"unified", {{"../x.y", "1"}}}}).has_value());
  CHECK(!cgroup_settings({{"unified", {{"cgroup.kill", "1"}}}}).has_value());
}

TEST_CASE("seccomp profiles compile, bad ones are named", "[plan]") {
  auto filter = compile_seccomp(default_seccomp(default_capabilities()));
  REQUIRE((filter ? "" : filter.error().message) == "");
  CHECK(filter->instructions.size() > 800);
  CHECK(filter->instructions.size() % 8 == 0);
  CHECK(compile_seccomp(Json())->instructions.empty());
  CHECK(!compile_seccomp({{"defaultAction", "NOPE"}}).has_value());
  CHECK(!compile_seccomp({{"defaultAction", "SCMP_ACT_ALLOW"}, {"listenerPath", "/x"}}).has_value());
}

}  // namespace brume::runtime
