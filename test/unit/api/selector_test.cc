#include "brume/api/selector.h"
#include "brume/base/json.h"
#include "catch.h"

using namespace brume;
using namespace brume::api;

namespace {
bool matches(std::string_view text, const StringMap& labels) {
  auto selector = LabelSelector::parse(text);
  REQUIRE(selector.has_value());
  return selector->matches(labels);
}
std::string label_error(std::string_view text) {
  auto selector = LabelSelector::parse(text);
  return selector ? "none" : selector.error().message;
}
}  // namespace

TEST_CASE("label selectors match") {
  const StringMap labels = {{"app", "web"}, {"size", "5"}, {"tier", "front"}};
  CHECK(matches("", labels));
  CHECK(matches("app=web", labels));
  CHECK(matches("app==web,tier!=back", labels));
  CHECK(matches(" app in (api, web) , tier", labels));
  CHECK(matches("!missing", labels));
  CHECK(matches("missing!=x", labels));
  CHECK(matches("missing notin (a,b)", labels));
  CHECK(matches("size>4,size<6", labels));
  CHECK(!matches("size>5", labels));
  CHECK(!matches("app>1", labels));
  CHECK(!matches("app notin (web)", labels));
  CHECK(!matches("app=api", labels));
  CHECK(!matches("missing", labels));
  CHECK(!matches("missing=", labels));
  CHECK(!matches("!app", labels));
  CHECK(matches("empty=", {{"empty", ""}}));
  CHECK(matches("a in (,x)", {{"a", ""}}));
}

TEST_CASE("bad label selectors are refused with Kubernetes' words") {
  CHECK(label_error("in=x") == "found 'in', expected: !, identifier, or 'end of string'");
  CHECK(label_error("a=b,") == "found '', expected: identifier after ','");
  CHECK(label_error("a b") == "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
  CHECK(label_error("a in b") == "unable to parse requirement: found 'b' expected: '('");
  CHECK(label_error("a=b c") == "found 'c', expected: ',' or 'end of string'");
  CHECK(label_error("=a") == "found '=', expected: !, identifier, or 'end of string'");
  CHECK(label_error("a in (b") == "unable to parse requirement: found '', expected: ',' or ')'");
  CHECK(label_error("a>x").find("the value must be an integer") != std::string::npos);
  CHECK(label_error("a=b_").find("a valid label must be an empty string") != std::string::npos);
  CHECK(label_error("-a=b").find("name part must consist of") != std::string::npos);
  CHECK(label_error("a/b/c=d").find("a qualified name must consist of") != std::string::npos);
  CHECK(label_error("a=" + std::string(64, 'x')).find("must be no more than 63 bytes") != std::string::npos);
  CHECK(LabelSelector::parse("(((").error().code == Code::kBadRequest);
}

TEST_CASE("selectors print in a form that reads back") {
  for (const char* text : {"a=b", "a in (b,c),d!=e", "!x,y", "z notin (q)", "n>5", "k="}) {
    auto selector = LabelSelector::parse(text);
    REQUIRE(selector.has_value());
    CHECK(LabelSelector::parse(selector->to_string())->to_string() == selector->to_string());
  }
  CHECK(LabelSelector::parse("b=2,a in (y,x)")->to_string() == "a in (x,y),b=2");
}

TEST_CASE("selectors from objects") {
  CHECK(LabelSelector::from_json(Json())->selects_nothing());
  CHECK(!LabelSelector::from_json(Json())->matches({}));
  CHECK(LabelSelector::from_json(Json::object())->empty());
  CHECK(LabelSelector::from_json(Json::object())->matches({{"a", "b"}}));
  auto json =
      *parse_json(R"({"matchLabels":{"a":"b"},"matchExpressions":[{"key":"c","operator":"In","values":["x","y"]},
    {"key":"d","operator":"DoesNotExist"}]})");
  auto selector = LabelSelector::from_json(json);
  REQUIRE(selector.has_value());
  CHECK(selector->matches({{"a", "b"}, {"c", "y"}}));
  CHECK(!selector->matches({{"a", "b"}, {"c", "y"}, {"d", ""}}));
  CHECK(selector->matches_json(Json{{"a", "b"}, {"c", "x"}}));
  CHECK(!selector->matches_json(Json()));
  auto bad = LabelSelector::from_json(*parse_json(R"({"matchExpressions":[{"key":"c","operator":"Near"}]})"));
  CHECK(bad.error().message == "\"Near\" is not a valid label selector operator");
  CHECK(!LabelSelector::from_json(*parse_json(R"({"matchExpressions":[{"key":"c","operator":"In"}]})")).has_value());
  CHECK(LabelSelector::from_map(Json{{"a", "b"}}).matches({{"a", "b"}, {"z", "z"}}));
  CHECK(LabelSelector::from_map(Json()).empty());
}

TEST_CASE("field selectors read the bytes") {
  auto pod = Object::from_json(*parse_json(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"n"},
    "spec":{"nodeName":"node-1","containers":[{"name":"nodeName"}]},"status":{"phase":"Running"}})"));
  REQUIRE(pod.has_value());
  auto check = [&](std::string_view text) {
    auto selector = FieldSelector::parse(res("pods"), text);
    REQUIRE(selector.has_value());
    return selector->matches(**pod);
  };
  CHECK(check(""));
  CHECK(check("spec.nodeName=node-1"));
  CHECK(check("metadata.name=p,metadata.namespace==n,status.phase!=Failed"));
  CHECK(check("spec.hostNetwork=false"));
  CHECK(check("status.podIP="));
  CHECK(!check("spec.nodeName!=node-1"));
  CHECK(!check("spec.nodeName="));
  auto selector = FieldSelector::parse(res("pods"), "spec.nodeName=x");
  CHECK(selector->required_value("spec.nodeName") == "x");
  CHECK(selector->required_value("metadata.name").empty());
}

TEST_CASE("field selectors of other resources and bad ones") {
  auto error = [](std::string_view resource, std::string_view text) {
    auto selector = FieldSelector::parse(res(resource), text);
    return selector ? "none" : selector.error().message;
  };
  CHECK(error("pods", "spec.foo=x") == "field label not supported: spec.foo");
  CHECK(error("pods", "spec.foo=x") != "none");
  CHECK(error("configmaps", "data.a=x").find("is not a known field selector") != std::string::npos);
  CHECK(error("pods", "metadata.name") == "invalid selector: 'metadata.name'; can't understand 'metadata.name'");
  CHECK(error("pods", "metadata.name=a\\x").find("invalid escape sequence") != std::string::npos);
  CHECK(error("pods", "metadata.name=a=b").find("unescaped character in value") != std::string::npos);
  CHECK(error("events", "involvedObject.name=x,reason=y,type=Normal,source=kubelet") == "none");
  CHECK(error("jobs.batch", "status.successful=1") == "none");
  CHECK(FieldSelector::parse(res("pods"), "metadata.name=a\\,b")->requirements()[0].value == "a,b");
  CHECK(FieldSelector::parse(res("pods"), "metadata.name=a\\,b")->to_string() == "metadata.name=a\\,b");
  CHECK(FieldSelector::parse(res("configmaps"), "spec.color=red", {"spec.color"}).has_value());
  auto job = Object::from_json(*parse_json(R"({"metadata":{"name":"j"},"status":{"succeeded":3}})"));
  CHECK(FieldSelector::parse(res("jobs.batch"), "status.successful=3")->matches(**job));
  auto event =
      Object::from_json(*parse_json(R"({"metadata":{"name":"e"},"reportingController":"c","regarding":{"name":"p"}})"));
  CHECK(FieldSelector::parse(res("events.events.k8s.io"), "regarding.name=p,reportingController=c")->matches(**event));
  CHECK(error("events.events.k8s.io", "involvedObject.name=p") == "field label not supported: involvedObject.name");
  CHECK(error("events.events.k8s.io", "source=c") == "field label not supported: source");
}

TEST_CASE("field values of odd bytes") {
  CHECK(field_value(R"({"a":{"b":5}})", "a.b") == "5");
  CHECK(field_value(R"({"a":{"b":true}})", "a.b") == "true");
  CHECK(field_value(R"({"a":{"b":[1]}})", "a.b").empty());
  CHECK(field_value(R"({"a":{"b":null}})", "a.b").empty());
  CHECK(field_value(R"({"a":"x"})", "a.b").empty());
  for (const char* text :
       {R"({"kind":"Pod","metadata":{"name":"p"},"spec":{"a":"1","nodeName":"n"},"status":{"phase":"P"}})",
        R"({"metadata":{"name":"p","resourceVersion":"1","uid":"u"},"spec":{"nodeName":"n"},"status":{"phase":"P"}})",
        R"({"metadata":{},"spec":{"nodeName":"n"},"status":{"phase":"P"}})"}) {
    for (const auto& object : {Object::from_stored(text, 123456), Object::from_json(*parse_json(text))}) {
      REQUIRE(object);
      CHECK(field_value(**object, "spec.nodeName") == "n");
      CHECK(field_value(**object, "spec.none").empty());
      CHECK(field_value(**object, "status.phase") == "P");
      CHECK(field_value(**object, "metadata.name") == (*object)->name());
    }
  }
  CHECK(field_value(**Object::from_stored(R"({"metadata":{"name":"p"}})", 7), "spec.nodeName").empty());
  CHECK(field_value(R"({"A":"}{\"","a":"q\"A"})", "a") == "q\"A");
  CHECK(field_value("{", "a").empty());
  CHECK(field_value("", "a").empty());
}
