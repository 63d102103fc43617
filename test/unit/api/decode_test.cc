#include "brume/api/decode.h"
#include "api/yaml.h"
#include "brume/api/encode.h"
#include "brume/api/resources.h"
#include "catch.h"

using namespace brume;
using namespace brume::api;

namespace {
Json yaml(std::string_view text) {
  auto decoded = decode(text, MediaType::kYaml);
  INFO((decoded ? "" : decoded.error().message));
  REQUIRE(decoded.has_value());
  return decoded->value;
}
std::string error_of(std::string_view text, MediaType media = MediaType::kJson) {
  auto decoded = decode(text, media);
  return decoded ? "none" : decoded.error().message;
}
std::string coerce_error(const char* resource, std::string_view text) {
  auto value = *parse_json(text);
  auto status = coerce(*res(resource).type, value);
  return status ? "none" : status.error().message;
}
Json coerced(const char* resource, std::string_view text) {
  auto value = *parse_json(text);
  auto status = coerce(*res(resource).type, value);
  INFO((status ? "" : status.error().message));
  REQUIRE(status.has_value());
  return value;
}
}  // namespace

TEST_CASE("YAML that is written is read as the same value") {
  const Json nested =
      *parse_json(R"({"b":{},"a":[],"list":[1,-2,1.5,true,null,{"x":[["deep"],{}]},"s"],"z":{"k":"v"}})");
  CHECK(yaml(encode_yaml(nested)) == nested);
  CHECK(encode_yaml(*parse_json(R"({"a":{"b":["x",1]},"c":"d"})")) == "a:\n  b:\n    - x\n    - 1\nc: d\n");
  for (const std::string text : {"",
                                 " ",
                                 "~",
                                 "null",
                                 "no",
                                 "Yes",
                                 "on",
                                 "1",
                                 "1e3",
                                 "0x1f",
                                 "0o7",
                                 ".5",
                                 "-",
                                 "- a",
                                 "a: b",
                                 "a #b",
                                 "#",
                                 "*a",
                                 "&a",
                                 "!t",
                                 "|",
                                 ">",
                                 "%",
                                 "@x",
                                 "`",
                                 "\"",
                                 "'",
                                 "{",
                                 "[a",
                                 "]",
                                 ",",
                                 "? a",
                                 ":",
                                 "=",
                                 "<<",
                                 "1:30",
                                 "2026-11-28",
                                 "2026-11-28T10:00:00Z",
                                 "a\nb",
                                 "a\n",
                                 "\n  a\n\n",
                                 "\ttab",
                                 "a ",
                                 " a",
                                 "x\\y",
                                 "\x01\x7f",
                                 "caf\u00e9 \u2028 \U0001f600",
                                 "---",
                                 "...",
                                 "--- a"}) {
    const Json value{{"v", text}, {"l", Json::array({text})}, {"m", Json{{text, text}}}};
    CHECK(yaml(encode_yaml(value)) == value);
  }
  CHECK(encode_yaml("2026-11-28T10:00:00Z") == "\"2026-11-28T10:00:00Z\"\n");
}

TEST_CASE("JSON: repeated keys are named by path and the last wins") {
  auto decoded =
      decode(R"({"spec":{"replicas":1,"replicas":2,"c":[{},{"n":1,"n":2}]},"a":1,"a":{"b":1}})", MediaType::kJson);
  REQUIRE(decoded.has_value());
  CHECK(decoded->value["spec"]["replicas"] == 2);
  CHECK(decoded->value["a"]["b"] == 1);
  CHECK(decoded->duplicate_fields == std::vector<std::string>{"duplicate field \"spec.replicas\"",
                                                              "duplicate field \"spec.c[1].n\"",
                                                              "duplicate field \"a\""});
}

TEST_CASE("faults that a body was made for are told once, and a hundred at most") {
  std::string many = "{";
  std::string long_path = "{\"" + std::string(1 << 20, 'k') + "\":{";
  for (int i = 0; i < 1000; ++i) {
    const std::string name = "\"f" + std::to_string(i) + "\":0,";
    many += name + name + name;
    long_path += name + name;
  }
  for (std::string* text : {&many, &long_path}) text->back() = '}';
  auto decoded = decode(many, MediaType::kJson);
  REQUIRE(decoded.has_value());
  REQUIRE(decoded->duplicate_fields.size() == 100);
  CHECK(decoded->duplicate_fields[1] == "duplicate field \"f1\"");
  CHECK(unknown_fields(*res("pods").type, decoded->value).size() == 100);
  decoded = decode(long_path + "}", MediaType::kJson);
  REQUIRE(decoded.has_value());
  CHECK(decoded->duplicate_fields.size() == 1);
  std::string yaml_text;
  for (int i = 0; i < 500; ++i) yaml_text += "f" + std::to_string(i / 2) + ": 0\n";
  decoded = decode(yaml_text, MediaType::kYaml);
  REQUIRE(decoded.has_value());
  CHECK(decoded->duplicate_fields.size() == 100);
}

TEST_CASE("JSON: what is malformed is refused") {
  CHECK(error_of("") == "unexpected end of JSON input");
  CHECK(error_of("{\"a\":") == "unexpected end of JSON input");
  CHECK(error_of("{\"a\":x}") == "invalid character 'x' looking for beginning of value");
  CHECK(error_of("{\"a\":\"\xff\"}").find("UTF-8") != std::string::npos);
  CHECK(error_of("{} {}") != "none");
  CHECK(error_of(std::string(100'000, '[')) == "exceeded max depth");
  CHECK(error_of(std::string(512, '[') + std::string(512, ']')) == "none");
  auto big = decode(std::string(3 * 1024 * 1024 + 1, ' '), MediaType::kJson);
  CHECK(big.error().code == Code::kRequestEntityTooLarge);
}

TEST_CASE("YAML scalars read as YAML 1.1") {
  auto value = yaml(
      "a: yes\nb: \"yes\"\nc: 0x1F\nd: 017\ne: 1_000\nf: 1.5\ng: ~\nh: off\ni: 08\nj: 1e3\nk: 2001-01-01\n"
      "l: '5'\nm: !!str 5\nnn: -7\no: 0o17\np: |\n  text\nq: 0b11\nr: .5\ns: -x\nt: 1.2.3\nu: n\n");
  CHECK(value["a"] == true);
  CHECK(value["b"] == "yes");
  CHECK(value["c"] == 31);
  CHECK(value["d"] == 15);
  CHECK(value["e"] == 1000);
  CHECK(value["f"] == 1.5);
  CHECK(value["g"].is_null());
  CHECK(value["h"] == false);
  CHECK(value["i"] == 8);
  CHECK(value["j"] == 1000);
  CHECK(value["j"].is_number_integer());
  CHECK(value["k"] == "2001-01-01");
  CHECK(value["l"] == "5");
  CHECK(value["m"] == "5");
  CHECK(value["nn"] == -7);
  CHECK(value["o"] == 15);
  CHECK(value["p"] == "text\n");
  CHECK(value["q"] == 3);
  CHECK(value["r"] == 0.5);
  CHECK(value["s"] == Json("-x"));
  CHECK(value["t"] == "1.2.3");
  CHECK(value["u"] == false);
  CHECK(resolve_plain_scalar("9223372036854775807") == Json(INT64_MAX));
  CHECK(resolve_plain_scalar("-9223372036854775808") == Json(INT64_MIN));
  CHECK(resolve_plain_scalar(".inf").is_string());
}

TEST_CASE("YAML structure") {
  auto value = yaml("base: &b {x: 1, z: 2}\nuse:\n  <<: *b\n  z: 3\nlist: [*b, 2]\n5: five\ntrue: t\n");
  CHECK(value["use"] == Json({{"x", 1}, {"z", 3}}));
  CHECK(value["list"][0]["z"] == 2);
  CHECK(value["5"] == "five");
  CHECK(value["true"] == "t");
  CHECK(yaml("{\"a\": [1, \"b\"]}")["a"][1] == "b");
  auto doubled = decode("a: 1\nb: 2\na: 3\n", MediaType::kYaml);
  CHECK(doubled->value["a"] == 3);
  REQUIRE(doubled->duplicate_fields.size() == 1);
  CHECK(doubled->duplicate_fields[0] == "line 3: key \"a\" already set in map");
  CHECK(yaml("---\na: 1\n---\n")["a"] == 1);
}

TEST_CASE("YAML: bombs, several documents and bad bytes are refused") {
  CHECK(error_of("a: 1\n---\nb: 2\n", MediaType::kYaml).find("more than one document") != std::string::npos);
  std::string bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 12; ++i) {
    auto last = std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + last;
    for (int k = 0; k < 9; ++k) bomb += ",*a" + last;
    bomb += "]\n";
  }
  CHECK(error_of(bomb, MediaType::kYaml) == "yaml: document contains excessive aliasing");
  std::string wide = "s: &s " + std::string(100'000, 'x') + "\nl: [";
  for (int i = 0; i < 1000; ++i) wide += "*s,";
  CHECK(error_of(wide + "]\n", MediaType::kYaml) == "yaml: document contains excessive aliasing");
  CHECK(error_of(std::string(5000, '['), MediaType::kYaml) != "none");
  CHECK(error_of("a: \xff\n", MediaType::kYaml).find("UTF-8") != std::string::npos);
  CHECK(error_of("a: [1\n", MediaType::kYaml) != "none");
  CHECK(error_of("a: *none\n", MediaType::kYaml) != "none");
  CHECK(error_of("a: &a [*a]\n", MediaType::kYaml) != "none");
  CHECK(error_of("[a]: b\n", MediaType::kYaml) != "none");
  CHECK(error_of("{}}\n", MediaType::kYaml) != "none");
  CHECK(error_of("a: 1\n]", MediaType::kYaml) != "none");
  auto documents = decode_yaml_documents("a: 1\n---\n# nothing\n---\nb: 2\n");
  REQUIRE(documents.has_value());
  CHECK(documents->size() == 2);
}

TEST_CASE("unknown fields are named by path") {
  auto value =
      *parse_json(R"({"kind":"Deployment","foo":1,"spec":{"replicaz":1,"template":{"spec":{"containers":[{"name":"a"},
    {"imag":"x"}]}}},"metadata":{"labels":{"any":"thing"}}})");
  auto unknown = unknown_fields(*res("deployments.apps").type, value);
  CHECK(unknown == std::vector<std::string>{"unknown field \"foo\"", "unknown field \"spec.replicaz\"",
                                            "unknown field \"spec.template.spec.containers[1].imag\""});
}

TEST_CASE("types are checked with the words of Go's decoder") {
  CHECK(coerce_error("deployments.apps", R"({"spec":{"replicas":"3"}})") ==
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32");
  CHECK(coerce_error("deployments.apps", R"({"spec":{"replicas":1.5}})") ==
        "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32");
  CHECK(coerce_error("deployments.apps", R"({"spec":{"replicas":9999999999}})").find("number 9999999999") !=
        std::string::npos);
  CHECK(coerce_error("pods", R"({"spec":{"containers":{}}})") ==
        "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container");
  CHECK(coerce_error("pods", R"({"spec":"x"})") ==
        "json: cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec");
  CHECK(coerce_error("configmaps", R"({"data":{"a":1}})") ==
        "json: cannot unmarshal number into Go struct field ConfigMap.data of type string");
  CHECK(coerce_error("pods", R"({"metadata":{"labels":{"a":true}}})") ==
        "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string");
  CHECK(coerce_error("pods", R"({"metadata":{"creationTimestamp":"now"}})").find("parsing time \"now\"") == 0);
  CHECK(coerce_error("secrets", R"({"data":{"a":"?"}})") == "illegal base64 data at input byte 0");
  CHECK(coerce_error("services", R"({"spec":{"ports":[{"port":80,"targetPort":true}]}})") ==
        "json: cannot unmarshal bool into Go value of type int32");
  CHECK(coerce_error("pods", R"({"spec":{"overhead":{"cpu":"x"}}})").find("quantities must match") == 0);
}

TEST_CASE("values take their canonical form") {
  auto pod = coerced(
      "pods", R"({"foo":1,"metadata":{"name":"a","creationTimestamp":"2026-01-01T01:00:00.5+01:00","labels":null},
    "spec":{"nodeName":null,"containers":[{"name":"c","resources":{"limits":{"cpu":"0.5","memory":1073741824}},"args":["a",null]}]}})");
  CHECK(!pod.contains("foo"));
  CHECK(pod["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z");
  CHECK(!pod["metadata"].contains("labels"));
  CHECK(!pod["spec"].contains("nodeName"));
  const Json& container = pod["spec"]["containers"][0];
  CHECK(container["resources"]["limits"]["cpu"] == "500m");
  CHECK(container["resources"]["limits"]["memory"] == "1073741824");
  CHECK(container["args"] == Json::array({"a", ""}));
  CHECK(pod["status"] == Json::object());
  auto again = pod;
  REQUIRE(coerce(*res("pods").type, again).has_value());
  CHECK(again == pod);
}

TEST_CASE("the tables answer for every resource") {
  CHECK(builtin_resources().size() > 55);
  for (const Resource& resource : builtin_resources()) {
    INFO(resource.plural);
    REQUIRE(resource.type != nullptr);
    CHECK(resource.type->kind == resource.kind);
    CHECK(find_resource(resource.group, resource.version, resource.plural) == &resource);
    CHECK(find_kind(resource.api_version(), resource.kind) == &resource);
    CHECK(find_field(*resource.type, "kind") != nullptr);
    if (resource.has_verb("list"))
      CHECK(find_type(resource.api_version(), std::string(resource.kind) + "List") != nullptr);
  }
  for (const Type& type : builtin_types()) {
    CHECK(find_type(type.name) == &type);
    for (const Field& field : type.fields) CHECK(find_field(type, field.name) == &field);
  }
  CHECK(res("pods").short_names[0] == "po");
  CHECK(res("deployments.apps").subresource("scale")->kind == "Scale");
  CHECK(find_type("v1", "DeleteOptions") != nullptr);
  CHECK(find_type("policy/v1", "Eviction") != nullptr);
  CHECK(find_type("v1", "Nope") == nullptr);
  const Field* containers = find_field(*find_type("io.k8s.api.core.v1.PodSpec"), "containers");
  CHECK(containers->merge_key() == "name");
  CHECK(containers->list_type == ListType::kMap);
  CHECK(containers->item->type->short_name == "Container");
}
