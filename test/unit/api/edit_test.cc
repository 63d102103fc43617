#include "brume/api/edit.h"

#include <array>

#include "brume/api/object.h"
#include "brume/base/json.h"
#include "catch.h"

using namespace brume;
using api::edit_members;
using api::MemberEdit;

TEST_CASE("members are changed, added in the order of keys, and taken away; the rest is copied") {
  const std::string_view pod =
      R"({"kind":"Pod","metadata":{"name":"a","resourceVersion":"7"},"spec":{"containers":[{"n":"}"}],"zone":"z"},"status":{"phase":"P"}})";
  const std::array<MemberEdit, 4> edits{{{"metadata.resourceVersion", ""},
                                         {"status", R"({"phase":"Q"})"},
                                         {"spec.nodeName", R"("n1")"},
                                         {"metadata.annotations", R"({"x":"y"})"}}};
  CHECK(
      edit_members(pod, edits) ==
      R"({"kind":"Pod","metadata":{"annotations":{"x":"y"},"name":"a"},"spec":{"containers":[{"n":"}"}],"nodeName":"n1","zone":"z"},"status":{"phase":"Q"}})");
}

TEST_CASE("what an edit needs on its way is made, and what goes may be missing") {
  const std::array<MemberEdit, 3> edits{{{"a.b.c", "1"}, {"x", ""}, {"s.t", "true"}}};
  CHECK(edit_members("{}", edits) == R"({"a":{"b":{"c":1}},"s":{"t":true}})");
  // A value that is no object gives way to one.
  CHECK(edit_members(R"({"a":null,"s":[1],"x":0})", edits) == R"({"a":{"b":{"c":1}},"s":{"t":true}})");
  CHECK(edit_members(R"({"a":{},"s":{"u":"\"\\"}})", edits) == R"({"a":{"b":{"c":1}},"s":{"t":true,"u":"\"\\"}})");
}

TEST_CASE("an edit of text is the edit of its DOM") {
  Json dom = *parse_json(R"({"a":{"k\"1":1,"k2":[{"b":1}],"z":"\u00e4"},"m":{"é":"x","q":{}},"n":[]})");
  const std::string text = dump_json(dom);
  dom["a"]["k2"] = 5;
  dom["a"].erase("z");
  dom["m"]["p"] = "new";
  CHECK(edit_members(text, std::array<MemberEdit, 3>{{{"a.k2", "5"}, {"a.z", ""}, {"m.p", R"("new")"}}}) ==
        dump_json(dom));
}

TEST_CASE("text that is no object gives nothing") {
  const std::array<MemberEdit, 1> edit{{{"a", "1"}}};
  for (const char* text : {"", "[]", "{", R"({"b":)", R"({"b":[1,)", R"({"a":{"b)"})
    CHECK(edit_members(text, edit).empty());
}
