// Drives the fuzzers over seeds and random changes of them, so that every run of the suite fuzzes a little.
#include <random>
#include <string>
#include <vector>

#include "catch.h"
#include "support/tzif.h"

#define LLVMFuzzerTestOneInput fuzz_yaml
#include "yaml_fuzz.cc"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_cron_schedule
#include "cron_schedule_fuzz.cc"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_time_zone
#include "../base/time_zone_fuzz.cc"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_quantity
#include "quantity_fuzz.cc"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_selector
#include "selector_fuzz.cc"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_merge
#include "merge_fuzz.cc"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_object
#include "object_fuzz.cc"
#undef LLVMFuzzerTestOneInput

namespace {

using Fuzzer = int (*)(const std::uint8_t*, std::size_t);

void feed(Fuzzer fuzzer, const std::string& text) {
  CHECK(fuzzer(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()) == 0);
}

// Changes one to four spots: a byte of the alphabet, a cut, a doubled piece.
void drive(Fuzzer fuzzer, const std::vector<std::string>& seeds, std::string_view alphabet, int rounds) {
  std::mt19937_64 random(20'26);
  for (const auto& seed : seeds) feed(fuzzer, seed);
  for (int i = 0; i < rounds; ++i) {
    std::string text = seeds[random() % seeds.size()];
    for (auto changes = 1 + random() % 4; changes > 0; --changes) {
      auto at = text.empty() ? 0 : random() % text.size();
      auto length = std::min<std::size_t>(random() % 8, text.size() - at);
      switch (random() % 4) {
        case 0: text.insert(at, 1, alphabet[random() % alphabet.size()]); break;
        case 1: text.erase(at, length); break;
        case 2: text.insert(random() % (text.size() + 1), text.substr(at, length)); break;
        default:
          if (!text.empty()) text[at] = static_cast<char>(random());
      }
    }
    feed(fuzzer, text);
  }
}

}  // namespace

TEST_CASE("fuzz: decoding") {
  drive(
      fuzz_yaml,
      {"a: &x [1, 2]\nb: *x\nc: {d: e}\n",
       "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n  - name: c\n    "
       "image: x\n    resources: {limits: {cpu: 500m}}\n  volumes:\n  - name: v\n",
       R"({"metadata":{"name":"a","creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"containers":[{"name":"a","ports":[{"containerPort":1}]}]}})",
       "? a\n: |\n  b\n--- !!str x\n...\n", "<<: {a: 1}\n\"k\": 'v'\n"},
      "{}[]:,-?!&*|>'\"%@`# \n\t0aeE.~<=\\", 1500);
}

TEST_CASE("fuzz: quantities") {
  drive(fuzz_quantity, {"1", "0.5", "1024Mi", "-12e6", "999999999999999999999Ei", "1n", ".5u"},
        "0123456789.+-eEinumkKMGTP", 20'000);
}

TEST_CASE("fuzz: selectors") {
  drive(fuzz_selector,
        {"a=b,c!=d", "e in (x,y),!f", "g notin (,z)", "h>5", "metadata.name=a\\,b,status.phase!=Running"},
        "abin ()!=,<>\\.", 10'000);
}

TEST_CASE("fuzz: patches") {
  using namespace std::string_literals;
  drive(
      fuzz_merge,
      {R"({"containers":[{"name":"a"},{"name":"b"}]})"s + '\0' +
           R"({"$setElementOrder/containers":[{"name":"b"},{"name":"a"}],"containers":[{"name":"a","$patch":"delete"}]})",
       R"({"volumes":[{"name":"v","emptyDir":{}}]})"s + '\0' +
           R"({"volumes":[{"name":"v","$retainKeys":["name"]}],"$deleteFromPrimitiveList/x":[1]})",
       R"({"a":[1,2,{"b":3}]})"s + '\0' +
           R"([{"op":"move","from":"/a/0","path":"/a/2/c"},{"op":"copy","from":"","path":"/d"},{"op":"test","path":"/a/0","value":2}])"},
      "{}[]:,\"$/ab01", 4000);
}

TEST_CASE("fuzz: stored objects") {
  drive(
      fuzz_object,
      {R"({"kind":"Pod","metadata":{"labels":{"a":"b"},"name":"x","uid":"u"},"spec":{"nodeName":"n"}})",
       R"({"metadata":{"finalizers":["a"],"generation":2,"ownerReferences":[{"controller":true,"name":"y"}],"resourceVersion":"3"}})",
       R"({"metadata":{}})"},
      "{}[]:,\"\\ua0n", 10'000);
}

TEST_CASE("fuzz: schedules") {
  drive(fuzz_cron_schedule,
        {"*/15 1-3 1,15 jan-mar mon", "@every 1h30m1.5s", "CRON_TZ=UTC 0/5 ? * 2 sun-sat/2", "59 23 31 2 *", "@weekly"},
        "0123456789*/?-, @.hmsTZ=", 5000);
}

TEST_CASE("fuzz: time zones") {
  using namespace brume::test;
  drive(fuzz_time_zone,
        {tzif_berlin(), tzif_new_york(), tzif_sao_paulo(),
         tzif({{3600, false}, {7200, true}}, {{1000, 1}, {2000, 0}}, "", false)},
        std::string_view("\0\1\377TZif2AB,MJ.0159-<>:/\n", 24), 10'000);
}
