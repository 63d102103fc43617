#include "brume/api/projection.h"

#include "brume/base/json.h"
#include "catch.h"

using namespace brume;
using api::Projection;

TEST_CASE("a projection keeps the members that its paths name") {
  const Projection some({"metadata.name", "spec.containers.ports", "spec.containers.name", "status"});
  CHECK(
      some.text(
          R"({"metadata":{"name":"a","uid":"u"},"spec":{"containers":[{"env":[{"name":"x"}],"name":"c","ports":[1,2]},)"
          R"({"image":"i"}],"nodeName":"n"},"status":{"a":[{"b":"}"}],"c":{}}})") ==
      R"({"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","ports":[1,2]},{}]},"status":{"a":[{"b":"}"}],"c":{}}})");
  CHECK(some.text(R"({"metadata":{},"spec":{"containers":[]}})") == R"({"metadata":{},"spec":{"containers":[]}})");
  // What is not of the shape that the path expects is taken as it is.
  CHECK(some.text(R"({"metadata":null,"spec":"x"})") == R"({"metadata":null,"spec":"x"})");
  CHECK(some.text("{}") == "{}");
}

TEST_CASE("strings with quotes and backslashes are passed by and copied unharmed") {
  const Projection one({"b"});
  CHECK(one.text(R"({"a":"x\\","b":"q\"\\\"","c":"\\\\\""})") == R"({"b":"q\"\\\""})");
  CHECK(one.parse(R"({"a":["\"]"],"b":{"k\"":1}})") == Json({{"b", {{"k\"", 1}}}}));
}

TEST_CASE("text that is no JSON gives nothing") {
  const Projection one({"b"});
  for (const char* text : {"", "{", R"({"a":)", R"({"a":"x)", R"({"a":[1,)", R"({"b":{"c":1)"}) {
    CHECK(one.text(text).empty());
    CHECK(one.parse(text).is_null());
  }
}
