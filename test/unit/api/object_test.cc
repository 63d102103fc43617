#include "brume/api/object.h"
#include "brume/base/json.h"
#include "catch.h"

using namespace brume;
using namespace brume::api;

TEST_CASE("an object's header is read from its JSON") {
  auto object = Object::from_json(*parse_json(R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"n",
    "uid":"u-1","resourceVersion":"42","generation":3,"labels":{"z":"1","b":"\u0041\n"},"finalizers":["f1","f2"],
    "creationTimestamp":"2026-01-01T00:00:00Z","deletionTimestamp":"2026-01-02T00:00:00Z",
    "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"rs","uid":"u-2","controller":true,
    "blockOwnerDeletion":true}]}})"));
  REQUIRE(object.has_value());
  const Object& o = **object;
  CHECK(o.kind() == "Pod");
  CHECK(o.api_version() == "v1");
  CHECK(o.key() == "n/a");
  CHECK(o.uid() == "u-1");
  CHECK(o.resource_version() == 42);
  CHECK(o.generation() == 3);
  CHECK(o.label("z") == "1");
  CHECK(o.label("b") == "A\n");
  CHECK(o.label("c").empty());
  CHECK(o.finalizers() == std::vector<std::string>{"f1", "f2"});
  CHECK(o.deleting());
  CHECK(o.creation_timestamp() == "2026-01-01T00:00:00Z");
  REQUIRE(o.controller() != nullptr);
  CHECK(o.controller()->name == "rs");
  CHECK(o.controller()->block_owner_deletion);
  CHECK(o.parse()["metadata"]["name"] == "a");
}

TEST_CASE("the revision is spliced in its sorted place") {
  const std::pair<const char*, const char*> kCases[] = {
      {R"({"metadata":{}})", R"({"metadata":{"resourceVersion":"7"}})"},
      {R"({"metadata":{"name":"a"}})", R"({"metadata":{"name":"a","resourceVersion":"7"}})"},
      {R"({"metadata":{"uid":"u"}})", R"({"metadata":{"resourceVersion":"7","uid":"u"}})"},
      {R"({"metadata":{"name":"a","uid":"u"},"spec":{}})",
       R"({"metadata":{"name":"a","resourceVersion":"7","uid":"u"},"spec":{}})"},
      {R"({"metadata":{"labels":{"resourceVersion":"x"},"name":"a"}})",
       R"({"metadata":{"labels":{"resourceVersion":"x"},"name":"a","resourceVersion":"7"}})"},
      {R"({"metadata":{"name":"a","resourceVersion":"1","uid":"u"}})",
       R"({"metadata":{"name":"a","resourceVersion":"7","uid":"u"}})"},
  };
  for (const auto& [stored, wanted] : kCases) {
    auto object = Object::from_stored(stored, 7);
    REQUIRE(object.has_value());
    CHECK((*object)->bytes() == wanted);
    CHECK((*object)->resource_version() == 7);
    CHECK(dump_json((*object)->parse()) == wanted);
  }
}

TEST_CASE("what goes to the store has no revision and comes back the same") {
  auto json = *parse_json(
      R"({"kind":"Pod","metadata":{"selfLink":"/x","resourceVersion":"5","name":"a","uid":"u"},"spec":{"x":[1,2]}})");
  auto bytes = stored_bytes(json);
  CHECK(bytes == R"({"kind":"Pod","metadata":{"name":"a","uid":"u"},"spec":{"x":[1,2]}})");
  auto object = Object::from_stored(bytes, 9);
  REQUIRE(object.has_value());
  CHECK(stored_bytes((*object)->parse()) == bytes);
}

TEST_CASE("bytes that are no object are refused, never read past") {
  CHECK(Object::from_json(Json::array()).error().code == Code::kBadRequest);
  CHECK(Object::from_json(Json{{"metadata", 5}}).error().code == Code::kBadRequest);
  CHECK(Object::from_json(*parse_json(R"({"metadata":{"labels":{"a":5}}})")).error().code == Code::kBadRequest);
  const std::string whole =
      R"({"kind":"Pod","metadata":{"labels":{"a":"b\u00e9"},"name":"x","ownerReferences":[{"name":"y"}]},"spec":{}})";
  REQUIRE(Object::from_stored(whole, 1).has_value());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    auto cut = Object::from_stored(whole.substr(0, size), 1);
    REQUIRE(!cut.has_value());
    CHECK(cut.error().code == Code::kCorrupt);
  }
}
