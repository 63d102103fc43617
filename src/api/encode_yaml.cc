#include <yaml-cpp/emitter.h>
#include <yaml-cpp/emittermanip.h>

#include "api/yaml.h"
#include "brume/api/encode.h"
#include "brume/base/json.h"

namespace brume::api {

namespace {

// Whether every reader takes the text, unquoted, for a string. yaml-cpp itself looks at its characters only.
bool is_plain(const std::string& text) {
  // A line break is safe in double quotes only: a literal block cannot hold every text.
  if (text.find_first_of("\n\t") != std::string::npos || !resolve_plain_scalar(text).is_string()) return false;
  // Numbers with a base or colons, times and dates begin so; "=" and "<<" have types of their own in YAML 1.1.
  const char first = text.front();
  return !(first >= '0' && first <= '9') && first != '+' && first != '-' && first != '.' && text != "=" && text != "<<";
}

void emit_string(YAML::Emitter& out, const std::string& text) {
  if (!is_plain(text)) out << YAML::DoubleQuoted;
  out << text;
}

void emit(YAML::Emitter& out, const Json& value) {
  if (value.is_object()) {
    if (value.empty()) out << YAML::Flow;
    out << YAML::BeginMap;
    for (const auto& [key, member] : value.items()) {
      out << YAML::Key;
      emit_string(out, key);
      out << YAML::Value;
      emit(out, member);
    }
    out << YAML::EndMap;
  } else if (value.is_array()) {
    if (value.empty()) out << YAML::Flow;
    out << YAML::BeginSeq;
    for (const Json& element : value) emit(out, element);
    out << YAML::EndSeq;
  } else if (value.is_string()) {
    emit_string(out, value.get_ref<const std::string&>());
  } else if (value.is_null()) {
    out << YAML::Null;
  } else {
    out << dump_json(value);  // booleans and numbers are written alike
  }
}

}  // namespace

std::string encode_yaml(const Json& value) {
  YAML::Emitter out;
  emit(out, value);
  return std::string(out.c_str(), out.size()) + "\n";
}

}  // namespace brume::api
