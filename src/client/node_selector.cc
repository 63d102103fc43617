#include "brume/client/node_selector.h"

#include <algorithm>

#include "brume/base/json.h"
#include "brume/base/strings.h"

namespace brume::client {

const std::string* find_label(const api::StringMap& labels, std::string_view key) {
  auto it = std::lower_bound(labels.begin(), labels.end(), key,
                             [](const auto& entry, std::string_view wanted) { return entry.first < wanted; });
  return it != labels.end() && it->first == key ? &it->second : nullptr;
}

namespace {

NodeRequirement::Op op_of(std::string_view text) {
  using Op = NodeRequirement::Op;
  if (text == "In") return Op::kIn;
  if (text == "NotIn") return Op::kNotIn;
  if (text == "Exists") return Op::kExists;
  if (text == "DoesNotExist") return Op::kDoesNotExist;
  if (text == "Gt") return Op::kGt;
  if (text == "Lt") return Op::kLt;
  return Op::kInvalid;
}

std::vector<NodeRequirement> decode_requirements(const Json& list) {
  std::vector<NodeRequirement> out;
  if (!list.is_array()) return out;
  for (const auto& entry : list) {
    NodeRequirement made{.key = std::string(str(entry, "key")), .op = op_of(str(entry, "operator"))};
    const auto& values = at(entry, "values");
    if (values.is_array()) {
      for (const auto& value : values) made.values.emplace_back(str(value));
    }
    out.push_back(std::move(made));
  }
  return out;
}

}  // namespace

bool NodeRequirement::matches(const std::string* value) const {
  const auto listed = [&] { return std::find(values.begin(), values.end(), *value) != values.end(); };
  switch (op) {
    case Op::kIn: return value != nullptr && listed();
    case Op::kNotIn: return value == nullptr || !listed();
    case Op::kExists: return value != nullptr;
    case Op::kDoesNotExist: return value == nullptr;
    case Op::kGt:
    case Op::kLt: {
      if (value == nullptr || values.size() != 1) return false;
      const auto have = parse_int(*value);
      const auto bound = parse_int(values.front());
      if (!have || !bound) return false;
      return op == Op::kGt ? *have > *bound : *have < *bound;
    }
    case Op::kInvalid: break;
  }
  return false;
}

bool NodeSelectorTerm::matches(const api::Object& node) const {
  if (labels.empty() && fields.empty()) return false;
  for (const auto& requirement : labels) {
    if (!requirement.matches(find_label(node.labels(), requirement.key))) return false;
  }
  for (const auto& requirement : fields) {
    if (requirement.key != "metadata.name" || !requirement.matches(&node.name())) return false;
  }
  return true;
}

NodeSelectorTerm decode_term(const Json& term) {
  return {.labels = decode_requirements(at(term, "matchExpressions")),
          .fields = decode_requirements(at(term, "matchFields"))};
}

std::vector<NodeSelectorTerm> decode_terms(const Json& terms) {
  std::vector<NodeSelectorTerm> out;
  if (!terms.is_array()) return out;
  for (const auto& term : terms) out.push_back(decode_term(term));
  return out;
}

bool RequiredNodeAffinity::matches(const api::Object& node) const {
  if (!selector.labels.empty() && !selector.matches(node)) return false;
  return !terms || std::ranges::any_of(*terms, [&](const NodeSelectorTerm& term) { return term.matches(node); });
}

RequiredNodeAffinity decode_required_node_affinity(const Json& pod_spec) {
  RequiredNodeAffinity out;
  if (const auto& selector = at(pod_spec, "nodeSelector"); selector.is_object()) {
    for (const auto& [key, wanted] : selector.items()) {
      out.selector.labels.push_back({.key = key, .op = NodeRequirement::Op::kIn, .values = {std::string(str(wanted))}});
    }
  }
  const auto& required = at(pod_spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution");
  if (required.is_object()) out.terms = decode_terms(at(required, "nodeSelectorTerms"));
  return out;
}

}  // namespace brume::client
