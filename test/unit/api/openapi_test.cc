#include <set>

#include "brume/api/openapi.h"
#include "brume/base/json.h"
#include "catch.h"

using namespace brume;
using namespace brume::api;

namespace {

void collect_refs(const Json& value, std::set<std::string>& refs) {
  if (value.is_object() && value.contains("$ref") && value["$ref"].is_string())
    refs.insert(value["$ref"].get<std::string>());
  if (!value.is_structured()) return;
  for (const Json& item : value) collect_refs(item, refs);
}

void check_refs(const Json& document) {
  std::set<std::string> refs;
  collect_refs(document, refs);
  CHECK(!refs.empty());
  for (const auto& ref : refs) {
    INFO(ref);
    CHECK(document.contains(Json::json_pointer(ref.substr(1))));
  }
}

// Counts the fields of a protobuf message; -1 if it is not well-formed.
int count_fields(std::string_view bytes, std::uint64_t wanted) {
  int found = 0;
  std::size_t pos = 0;
  auto varint = [&]() -> std::uint64_t {
    std::uint64_t value = 0;
    for (int shift = 0; pos < bytes.size() && shift < 64; shift += 7) {
      auto byte = static_cast<std::uint8_t>(bytes[pos++]);
      value |= std::uint64_t(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    pos = bytes.size() + 1;
    return 0;
  };
  while (pos < bytes.size()) {
    auto key = varint();
    if ((key & 7) == 2) {
      pos += varint();
    } else if ((key & 7) == 0) {
      varint();
    } else {
      return -1;
    }
    if (key >> 3 == wanted) ++found;
  }
  return pos == bytes.size() ? found : -1;
}

}  // namespace

TEST_CASE("every OpenAPI v3 document is whole") {
  auto index = parse_json(openapi_v3_paths());
  REQUIRE(index.has_value());
  CHECK((*index)["paths"].contains("api/v1"));
  CHECK((*index)["paths"].contains("apis/apps/v1"));
  CHECK(str((*index)["paths"]["apis/apps/v1"], "serverRelativeURL").starts_with("/openapi/v3/apis/apps/v1?hash="));
  for (const auto& [path, entry] : (*index)["paths"].items()) {
    INFO(path);
    auto group_version = path == "api/v1" ? std::string("/v1") : path.substr(5);
    auto slash = group_version.find('/');
    auto text = openapi_v3(group_version.substr(0, slash), group_version.substr(slash + 1));
    auto document = parse_json(text);
    REQUIRE(document.has_value());
    check_refs(*document);
  }
  CHECK(openapi_v3("nope", "v1").empty());
}

TEST_CASE("the documents say what kubectl looks for") {
  auto document = *parse_json(openapi_v3("apps", "v1"));
  const Json& item = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
  REQUIRE(item.is_object());
  CHECK(item["patch"]["x-kubernetes-action"] == "patch");
  CHECK(item["patch"]["x-kubernetes-group-version-kind"] ==
        Json({{"group", "apps"}, {"kind", "Deployment"}, {"version", "v1"}}));
  std::set<std::string> names;
  for (const Json& parameter : item["patch"]["parameters"]) names.insert(parameter["name"].get<std::string>());
  CHECK(names == std::set<std::string>{"dryRun", "fieldManager", "fieldValidation", "force"});
  CHECK(item["patch"]["requestBody"]["content"].contains("application/apply-patch+yaml"));
  CHECK(document["paths"].contains("/apis/apps/v1/deployments"));
  CHECK(document["paths"].contains("/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"));
  const Json& schemas = document["components"]["schemas"];
  const Json& containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
  CHECK(containers["x-kubernetes-patch-merge-key"] == "name");
  CHECK(containers["x-kubernetes-list-map-keys"] == Json::array({"name"}));
  CHECK(schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"][0]["kind"] == "Deployment");
  std::set<std::string> ids;
  for (const auto& [path, operations] : document["paths"].items()) {
    for (const auto& [method, operation] : operations.items()) {
      if (operation.is_object()) CHECK(ids.insert(str(operation, "operationId").data()).second);
    }
  }
}

TEST_CASE("OpenAPI v2 as JSON and as protobuf") {
  auto document = *parse_json(openapi_v2_json());
  CHECK(document["swagger"] == "2.0");
  check_refs(document);
  const Json& volumes = document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"];
  CHECK(volumes["x-kubernetes-patch-strategy"] == "merge,retainKeys");
  auto bytes = openapi_v2_protobuf();
  CHECK(count_fields(bytes, 1) == 1);
  CHECK(count_fields(bytes, 8) == 1);
  CHECK(count_fields(bytes, 9) == 1);
  CHECK(bytes.find("x-kubernetes-patch-merge-key") != std::string::npos);
  CHECK(bytes.find("io.k8s.api.apps.v1.Deployment") != std::string::npos);
}

TEST_CASE("custom resources join the documents") {
  static const std::string_view verbs[] = {"create", "delete", "get", "list", "patch", "update", "watch"};
  Resource resource{"stable.example.com", "v1", "crontabs", "crontab", "CronTab", true, verbs, {}, {}, {}, nullptr};
  auto schema = *parse_json(
      R"({"type":"object","properties":{"spec":{"type":"object","nullable":true,"oneOf":[{"required":["x"]}]}}})");
  CustomResource custom{&resource, &schema};
  auto document = *parse_json(openapi_v3("stable.example.com", "v1", {&custom, 1}));
  check_refs(document);
  CHECK(document["components"]["schemas"]["com.example.stable.v1.CronTab"]["properties"]["spec"]["nullable"] == true);
  auto v2 = *parse_json(openapi_v2_json({&custom, 1}));
  check_refs(v2);
  CHECK(!v2["definitions"]["com.example.stable.v1.CronTab"]["properties"]["spec"].contains("nullable"));
  CHECK((*parse_json(openapi_v3_paths({&custom, 1})))["paths"].contains("apis/stable.example.com/v1"));
  CHECK(openapi_hash("a") != openapi_hash("b"));
}
