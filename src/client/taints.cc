#include "brume/client/taints.h"

#include <algorithm>

#include "brume/base/json.h"

namespace brume::client {

bool Toleration::tolerates(const Taint& taint) const {
  if (!effect.empty() && effect != taint.effect) return false;
  if (!key.empty() && key != taint.key) return false;
  if (key.empty() && !exists) return false;
  return exists || value == taint.value;
}

std::vector<Taint> decode_taints(const Json& taints) {
  std::vector<Taint> out;
  if (!taints.is_array()) return out;
  for (const auto& taint : taints) {
    out.push_back({.key = std::string(str(taint, "key")),
                   .value = std::string(str(taint, "value")),
                   .effect = std::string(str(taint, "effect")),
                   .added = parse_rfc3339(str(taint, "timeAdded"))});
  }
  return out;
}

std::vector<Toleration> decode_tolerations(const Json& tolerations) {
  std::vector<Toleration> out;
  if (!tolerations.is_array()) return out;
  for (const auto& toleration : tolerations) {
    Toleration made{.key = std::string(str(toleration, "key")),
                    .value = std::string(str(toleration, "value")),
                    .effect = std::string(str(toleration, "effect")),
                    .exists = str(toleration, "operator") == "Exists"};
    if (at(toleration, "tolerationSeconds").is_number()) made.seconds = num(toleration, "tolerationSeconds");
    out.push_back(std::move(made));
  }
  return out;
}

bool tolerated(const Taint& taint, const std::vector<Toleration>& tolerations) {
  return std::any_of(tolerations.begin(), tolerations.end(), [&](const auto& t) { return t.tolerates(taint); });
}

}  // namespace brume::client
