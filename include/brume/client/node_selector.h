// Which nodes a pod wants: core/v1 NodeSelectorTerm, and a pod's nodeSelector and required node affinity together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/api/object.h"
#include "brume/base/json_fwd.h"

namespace brume::client {

/// The label's value, or null. Labels are sorted by key.
const std::string* find_label(const api::StringMap& labels, std::string_view key);

struct NodeRequirement {
  enum class Op : std::uint8_t { kIn, kNotIn, kExists, kDoesNotExist, kGt, kLt, kInvalid };
  std::string key;
  Op op = Op::kInvalid;
  std::vector<std::string> values = {};
  [[nodiscard]] bool matches(const std::string* value) const;  ///< null: the label is absent
};

/// All requirements must hold; a term without any matches nothing.
struct NodeSelectorTerm {
  std::vector<NodeRequirement> labels = {};
  std::vector<NodeRequirement> fields = {};  ///< of metadata.name only
  [[nodiscard]] bool matches(const api::Object& node) const;
};

NodeSelectorTerm decode_term(const Json& term);
std::vector<NodeSelectorTerm> decode_terms(const Json& terms);

/// What scheduler, DaemonSets and node agent agree on.
struct RequiredNodeAffinity {
  NodeSelectorTerm selector = {};  ///< spec.nodeSelector; no requirements: none
  /// spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution: any must match. nullopt: none is set.
  std::optional<std::vector<NodeSelectorTerm>> terms = {};
  [[nodiscard]] bool empty() const { return selector.labels.empty() && !terms; }
  [[nodiscard]] bool matches(const api::Object& node) const;
};

RequiredNodeAffinity decode_required_node_affinity(const Json& pod_spec);

}  // namespace brume::client
