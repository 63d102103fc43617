#include "brume/api/patch.h"
#include "brume/api/resources.h"
#include "brume/base/json.h"
#include "catch.h"

using namespace brume;
using namespace brume::api;

namespace {

Json j(std::string_view text) {
  auto value = parse_json(text);
  INFO(std::string(text));
  REQUIRE(value.has_value());
  return *value;
}

std::string patched(std::string_view doc, std::string_view patch) {
  auto out = json_patch(j(doc), j(patch));
  return out ? dump_json(*out) : (out.error().code == Code::kInvalid ? "invalid: " : "bad: ") + out.error().message;
}

std::string merged(std::string_view doc, std::string_view patch) { return dump_json(merge_patch(j(doc), j(patch))); }

// Strategic merge into a PodSpec.
std::string strategic(std::string_view doc, std::string_view patch) {
  auto out = strategic_merge_patch(*find_type("io.k8s.api.core.v1.PodSpec"), j(doc), j(patch));
  return out ? dump_json(*out) : "error: " + out.error().message;
}

}  // namespace

TEST_CASE("RFC 6902: operations that apply") {
  CHECK(patched(R"({"a":1})", R"([{"op":"add","path":"/b","value":2}])") == R"({"a":1,"b":2})");
  CHECK(patched(R"({"a":[1,3]})", R"([{"op":"add","path":"/a/1","value":2}])") == R"({"a":[1,2,3]})");
  CHECK(patched(R"({"a":[1]})", R"([{"op":"add","path":"/a/-","value":[2]}])") == R"({"a":[1,[2]]})");
  CHECK(patched(R"({"a":[1]})", R"([{"op":"add","path":"/a/1","value":2}])") == R"({"a":[1,2]})");
  CHECK(patched(R"({"a":1,"b":2})", R"([{"op":"remove","path":"/a"}])") == R"({"b":2})");
  CHECK(patched(R"({"a":[1,2,3]})", R"([{"op":"remove","path":"/a/1"}])") == R"({"a":[1,3]})");
  CHECK(patched(R"({"a":1})", R"([{"op":"replace","path":"/a","value":{"b":null}}])") == R"({"a":{"b":null}})");
  CHECK(patched(R"({"a":{"b":1},"c":{}})", R"([{"op":"move","from":"/a/b","path":"/c/d"}])") ==
        R"({"a":{},"c":{"d":1}})");
  CHECK(patched(R"({"a":[1,2,3]})", R"([{"op":"move","from":"/a/0","path":"/a/2"}])") == R"({"a":[2,3,1]})");
  CHECK(patched(R"({"a":{"b":1}})", R"([{"op":"copy","from":"/a","path":"/c"}])") == R"({"a":{"b":1},"c":{"b":1}})");
  CHECK(patched(R"({"a/b":1,"m~n":2})", R"([{"op":"test","path":"/a~1b","value":1},{"op":"remove","path":"/m~0n"}])") ==
        R"({"a/b":1})");
  CHECK(patched(R"({"a":1})", R"([{"op":"add","path":"","value":[1]}])") == "[1]");
  CHECK(patched(R"({"a":1})", R"([{"op":"test","path":"/a","value":1.0}])") == R"({"a":1})");
  CHECK(patched(R"({"":1})", R"([{"op":"replace","path":"/","value":2}])") == R"({"":2})");
  CHECK(patched(R"({"a":1})", R"([{"op":"add","path":"/b","value":1,"extra":true}])") == R"({"a":1,"b":1})");
  CHECK(patched(R"({"a":1})", "[]") == R"({"a":1})");
}

TEST_CASE("RFC 6902: operations that do not fit are invalid, malformed ones bad") {
  CHECK(patched(R"({"a":1})", R"([{"op":"test","path":"/a","value":2}])") ==
        "invalid: testing value /a failed: test failed");
  CHECK(patched(R"({"a":"1"})", R"([{"op":"test","path":"/a","value":1}])").starts_with("invalid: "));
  CHECK(patched(R"({"a":1})", R"([{"op":"test","path":"/b","value":null}])").starts_with("invalid: "));
  CHECK(patched(R"({"a":1})", R"([{"op":"remove","path":"/b"}])")
            .starts_with("invalid: remove operation does not apply"));
  CHECK(patched(R"({"a":1})", R"([{"op":"replace","path":"/b","value":1}])").starts_with("invalid: replace"));
  CHECK(patched(R"({"a":1})", R"([{"op":"add","path":"/b/c","value":1}])").starts_with("invalid: add"));
  CHECK(patched(R"({"a":[1]})", R"([{"op":"add","path":"/a/2","value":1}])").starts_with("invalid: add"));
  CHECK(patched(R"({"a":[1]})", R"([{"op":"add","path":"/a/01","value":1}])").starts_with("invalid: add"));
  CHECK(patched(R"({"a":[1]})", R"([{"op":"remove","path":"/a/-"}])").starts_with("invalid: "));
  CHECK(patched(R"({"a":1})", R"([{"op":"move","from":"/x","path":"/y"}])").starts_with("invalid: move"));
  CHECK(patched("{}", R"({"op":"add"})").starts_with("bad: "));
  CHECK(patched("{}", R"([{"op":"spin","path":"/a"}])").starts_with("bad: "));
  CHECK(patched("{}", R"([{"op":"add","path":"/a"}])").starts_with("bad: "));
  CHECK(patched("{}", R"([{"op":"add","path":"a","value":1}])").starts_with("bad: "));
  CHECK(patched("{}", R"([{"op":"add","path":"/~2","value":1}])").starts_with("bad: "));
  CHECK(patched("{}", R"([{"op":"copy","path":"/a"}])").starts_with("bad: "));
  CHECK(patched("{}", R"([5])").starts_with("bad: "));
  CHECK(patched(R"({"a":{"b":1}})", R"([{"op":"move","from":"/a","path":"/a/b"}])").starts_with("bad: "));
}

TEST_CASE("a JSON patch cannot grow without bound") {
  Json doc = {{"a", std::string(1000, 'x')}};
  Json patch = Json::array();
  for (int i = 0; i < 40; ++i) patch.push_back({{"op", "copy"}, {"from", ""}, {"path", "/k" + std::to_string(i)}});
  CHECK(json_patch(doc, patch).error().code == Code::kRequestEntityTooLarge);
  Json many = Json::array();
  for (int i = 0; i < 10'001; ++i) many.push_back({{"op", "test"}, {"path", "/a"}, {"value", 1}});
  CHECK(json_patch(doc, many).error().code == Code::kRequestEntityTooLarge);
  Json deep = Json::array();
  for (int i = 0; i < 3000; ++i) {
    deep.push_back({{"op", "add"}, {"path", "/b"}, {"value", Json::object()}});
    deep.push_back({{"op", "move"}, {"from", "/a"}, {"path", "/b/a"}});
    deep.push_back({{"op", "move"}, {"from", "/b"}, {"path", "/a"}});
  }
  CHECK(json_patch(doc, deep).error().message == "exceeded max nesting depth");
}

TEST_CASE("RFC 7386 merge patch") {
  CHECK(merged(R"({"a":"b"})", R"({"a":"c"})") == R"({"a":"c"})");
  CHECK(merged(R"({"a":"b"})", R"({"b":"c"})") == R"({"a":"b","b":"c"})");
  CHECK(merged(R"({"a":"b","b":"c"})", R"({"a":null})") == R"({"b":"c"})");
  CHECK(merged(R"({"a":["b"]})", R"({"a":"c"})") == R"({"a":"c"})");
  CHECK(merged(R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})") == R"({"a":{"b":"d"}})");
  CHECK(merged(R"({"a":[{"b":"c"}]})", R"({"a":[1]})") == R"({"a":[1]})");
  CHECK(merged(R"({"e":null})", R"({"a":1})") == R"({"a":1,"e":null})");
  CHECK(merged("[1,2]", R"({"a":"b","c":null})") == R"({"a":"b"})");
  CHECK(merged("{}", R"({"a":{"bb":{"ccc":null}}})") == R"({"a":{"bb":{}}})");
  CHECK(merged(R"({"a":1})", "null") == "null");
}

TEST_CASE("strategic merge: maps, scalars and atomic lists") {
  CHECK(strategic(R"({"nodeName":"a","hostNetwork":true})", R"({"nodeName":"b","hostNetwork":null})") ==
        R"({"nodeName":"b"})");
  CHECK(strategic(R"({"nodeSelector":{"a":"1","b":"2"}})", R"({"nodeSelector":{"b":null,"c":"3"}})") ==
        R"({"nodeSelector":{"a":"1","c":"3"}})");
  CHECK(strategic(R"({"tolerations":[{"key":"a"}]})", R"({"tolerations":[{"key":"b"}]})") ==
        R"({"tolerations":[{"key":"b"}]})");
  CHECK(strategic("{}", R"({"securityContext":{"runAsUser":1,"fsGroup":null}})") ==
        R"({"securityContext":{"runAsUser":1}})");
  CHECK(strategic(R"({"securityContext":{"runAsUser":1}})",
                  R"({"securityContext":{"$patch":"replace","fsGroup":2}})") == R"({"securityContext":{"fsGroup":2}})");
  CHECK(strategic(R"({"securityContext":{"runAsUser":1}})", R"({"securityContext":{"$patch":"delete"}})") ==
        R"({"securityContext":{}})");
  CHECK(strategic("{}", R"({"securityContext":{"$patch":"delete"}})") == "{}");
  CHECK(strategic(R"({"securityContext":{}})", R"({"securityContext":{"$patch":"spin"}})")
            .starts_with("error: unknown patch type"));
}

TEST_CASE("strategic merge: lists with a merge key") {
  const char* two = R"({"containers":[{"image":"1","name":"a"},{"image":"2","name":"b"}]})";
  CHECK(strategic(two, R"({"containers":[{"name":"b","image":"3"}]})") ==
        R"({"containers":[{"image":"1","name":"a"},{"image":"3","name":"b"}]})");
  CHECK(strategic(two, R"({"containers":[{"name":"c","image":"4","tty":null}]})") ==
        R"({"containers":[{"image":"4","name":"c"},{"image":"1","name":"a"},{"image":"2","name":"b"}]})");
  CHECK(strategic(two, R"({"containers":[{"name":"a","$patch":"delete"}]})") ==
        R"({"containers":[{"image":"2","name":"b"}]})");
  CHECK(strategic(two, R"({"containers":[{"$patch":"replace"},{"name":"x"}]})") == R"({"containers":[{"name":"x"}]})");
  CHECK(strategic(two, R"({"containers":[{"image":"x"}]})").find("does not contain declared merge key: name") !=
        std::string::npos);
  CHECK(strategic(two, R"({"containers":[{"$patch":"delete"}]})").find("merge key: name") != std::string::npos);
  CHECK(strategic(two, R"({"containers":[{"name":"a","$patch":"merge"}]})")
            .starts_with("error: merging lists cannot yet"));
  CHECK(strategic(two, R"({"containers":[5]})").starts_with("error: "));
  CHECK(strategic(two, R"({"containers":null})") == "{}");
  // Two ports with one number: the merge key finds the first.
  CHECK(
      strategic(
          R"({"containers":[{"name":"a","ports":[{"containerPort":53,"protocol":"UDP"},{"containerPort":53,"protocol":"TCP"}]}]})",
          R"({"containers":[{"name":"a","ports":[{"containerPort":53,"name":"dns"}]}]})") ==
      R"({"containers":[{"name":"a","ports":[{"containerPort":53,"name":"dns","protocol":"UDP"},{"containerPort":53,"protocol":"TCP"}]}]})");
}

TEST_CASE("strategic merge: element order") {
  const char* three = R"({"containers":[{"name":"a"},{"name":"b"},{"name":"c"}]})";
  CHECK(strategic(three, R"({"$setElementOrder/containers":[{"name":"c"},{"name":"a"}]})") ==
        R"({"containers":[{"name":"b"},{"name":"c"},{"name":"a"}]})");
  CHECK(strategic(three, R"({"$setElementOrder/containers":[{"name":"d"},{"name":"a"},{"name":"b"},{"name":"c"}],
                            "containers":[{"name":"d","tty":true}]})") ==
        R"({"containers":[{"name":"d","tty":true},{"name":"a"},{"name":"b"},{"name":"c"}]})");
  CHECK(
      strategic(
          "{}",
          R"({"$setElementOrder/containers":[{"name":"b"},{"name":"a"}],"containers":[{"name":"b"},{"name":"a"}]})") ==
      R"({"containers":[{"name":"b"},{"name":"a"}]})");
  CHECK(strategic(three, R"({"$setElementOrder/containers":[{"name":"a"}],"containers":[{"name":"z"}]})")
            .find("doesn't match $setElementOrder") != std::string::npos);
  CHECK(strategic(three, R"({"$setElementOrder/containers":5})").starts_with("error: "));
  CHECK(strategic("{}", R"({"$setElementOrder/containers":[{"name":"a"}]})") == "{}");
  CHECK(strategic(three, R"({"$setElementOrder/containers":[{"name":"c"},{"name":"a"}],
                            "containers":[{"name":"b","$patch":"delete"},{"name":"c","tty":true}]})") ==
        R"({"containers":[{"name":"c","tty":true},{"name":"a"}]})");
}

TEST_CASE("strategic merge: retainKeys and primitive lists") {
  CHECK(strategic(R"({"volumes":[{"name":"v","emptyDir":{}}]})",
                  R"({"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/x"}}]})") ==
        R"({"volumes":[{"hostPath":{"path":"/x"},"name":"v"}]})");
  CHECK(strategic(R"({"volumes":[{"name":"v"}]})",
                  R"({"volumes":[{"name":"v","$retainKeys":["name"],"hostPath":{}}]})") ==
        "error: invalid patch format of retainKeys");
  auto meta = [](std::string_view doc, std::string_view patch) {
    auto out = strategic_merge_patch(*find_type("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"), j(doc), j(patch));
    return out ? dump_json(*out) : "error: " + out.error().message;
  };
  CHECK(meta(R"({"finalizers":["a","b"]})", R"({"finalizers":["b","c"]})") == R"({"finalizers":["a","b","c"]})");
  CHECK(meta(R"({"finalizers":["a","b","a"]})", R"({"$deleteFromPrimitiveList/finalizers":["a"]})") ==
        R"({"finalizers":["b"]})");
  CHECK(meta(R"({"finalizers":["a","b"]})", R"({"$setElementOrder/finalizers":["b","a"]})") ==
        R"({"finalizers":["b","a"]})");
  CHECK(meta("{}", R"({"$deleteFromPrimitiveList/finalizers":["a"]})") == "{}");
  CHECK(meta(R"({"finalizers":["a"]})", R"({"$deleteFromPrimitiveListfinalizers":["a"]})").starts_with("error: "));
}

TEST_CASE("strategic merge of long lists stays fast") {
  Json doc = {{"finalizers", Json::array()}}, patch = doc;
  for (int i = 0; i < 20'000; ++i) {
    doc["finalizers"].push_back("a" + std::to_string(i));
    patch["finalizers"].push_back("b" + std::to_string(i));
  }
  auto out = strategic_merge_patch(*find_type("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"), doc, patch);
  REQUIRE(out.has_value());
  CHECK((*out)["finalizers"].size() == 40'000);
}
