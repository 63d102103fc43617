// Strategic merge patch: Kubernetes' "strategic-merge-patch.md" design note and the behaviour of its API server.
#include <algorithm>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "brume/api/patch.h"
#include "brume/base/json.h"

namespace brume::api {

namespace {

constexpr std::string_view kDirective = "$patch";
constexpr std::string_view kRetainKeys = "$retainKeys";
constexpr std::string_view kDeleteFromList = "$deleteFromPrimitiveList";
constexpr std::string_view kElementOrder = "$setElementOrder";

std::unexpected<Error> bad(std::string message) { return fail(Code::kBadRequest, std::move(message)); }

std::unexpected<Error> no_merge_key(const Json& item, std::string_view key) {
  return bad("map: " + dump_json(item) + " does not contain declared merge key: " + std::string(key));
}

// What the schema says about a field's merge. Absent fields (and fields of free-form objects) merge as plain JSON.
struct MergeRule {
  const Type* type = nullptr;  // of the object, or of the list's items
  bool merge_list = false;
  std::string_view key;  // merge key of a list of objects
};

MergeRule rule_for(const Type* type, std::string_view name) {
  MergeRule rule;
  const Field* field = type == nullptr ? nullptr : find_field(*type, name);
  if (field == nullptr) return rule;
  rule.merge_list = field->patch_merge;
  rule.key = field->merge_key();
  if (field->kind == Kind::kObject) rule.type = field->type;
  if (field->kind == Kind::kList) rule.type = field->item->type;
  return rule;
}

// The part of "$directive/field" after the slash; false if there is none.
bool directive_field(std::string_view key, std::string_view directive, std::string& field) {
  if (!key.starts_with(directive)) return false;
  key.remove_prefix(directive.size());
  if (!key.starts_with('/')) return false;
  field = key.substr(1);
  return true;
}

void discard_nulls(Json& value) {
  if (value.is_object()) {
    for (auto it = value.begin(); it != value.end();) {
      if (it->is_null()) {
        it = value.erase(it);
      } else {
        discard_nulls(*it++);
      }
    }
  } else if (value.is_array()) {
    for (Json& item : value) discard_nulls(item);
  }
}

// False: the value itself is a directive and must go.
bool remove_directives(Json& value) {
  if (value.is_object()) {
    if (value.contains(kDirective)) return false;
    for (auto it = value.begin(); it != value.end();) {
      if (remove_directives(*it)) {
        ++it;
      } else {
        it = value.erase(it);
      }
    }
  } else if (value.is_array()) {
    Json kept = Json::array();
    for (Json& item : value) {
      if (remove_directives(item)) kept.push_back(std::move(item));
    }
    value = std::move(kept);
  }
  return true;
}

// How an item of a list is known: by its merge key's value, or by itself for scalars.
std::string identity(const Json& item, std::string_view key) { return dump_json(key.empty() ? item : at(item, key)); }

// Identity to first position, so that big lists stay linear.
class Order {
 public:
  Order(const Json& list, std::string_view key) {
    if (!list.is_array()) return;
    for (std::size_t i = 0; i < list.size(); ++i) positions_.emplace(identity(list[i], key), i);
  }
  [[nodiscard]] std::size_t find(const std::string& id) const {
    auto it = positions_.find(id);
    return it == positions_.end() ? kNone : it->second;
  }
  static constexpr auto kNone = static_cast<std::size_t>(-1);

 private:
  std::unordered_map<std::string, std::size_t> positions_;
};

struct Placed {
  Json item;
  std::size_t live;   // position in the list that the server had
  std::size_t order;  // position in the list that gives the order
  std::size_t seat;   // position in the merged list, which keeps equals apart
};

// The order of a merged list: items named in `order` stand in its order, the others keep the server's; where both lists
// know a pair, the server's order decides which list goes on first.
Json arrange(Json merged, const Json& order_list, const Json& live_list, std::string_view key) {
  const Order order(order_list, key), live(live_list, key);
  std::vector<Placed> named, others;
  std::size_t seat = 0;
  for (Json& item : merged) {
    auto id = identity(item, key);
    Placed placed{std::move(item), live.find(id), order.find(id), seat++};
    (placed.order == Order::kNone ? others : named).push_back(std::move(placed));
  }
  std::ranges::sort(named, {}, [](const Placed& placed) { return std::pair(placed.order, placed.seat); });
  std::ranges::sort(others, {}, [](const Placed& placed) { return std::pair(placed.live, placed.seat); });
  Json out = Json::array();
  std::size_t i = 0, j = 0;
  while (i < others.size() || j < named.size()) {
    bool take_other = j >= named.size() || (i < others.size() && others[i].live != Order::kNone &&
                                            named[j].live != Order::kNone && others[i].live < named[j].live);
    out.push_back(std::move(take_other ? others[i++].item : named[j++].item));
  }
  return out;
}

Result<Json> merge_object(const Type* type, Json original, Json patch);

Status check_items(const Json& list, bool objects) {
  for (const Json& item : list) {
    if (item.is_array()) return bad("lists of lists cannot be merged");
    if (item.is_object() != objects) return bad("a list to merge must have items of one type");
  }
  return {};
}

Json merge_scalars(const Json& original, const Json& patch) {
  Json merged = Json::array();
  std::set<std::string> seen;
  for (const Json* list : {&original, &patch}) {
    for (const Json& item : *list) {
      if (seen.insert(dump_json(item)).second) merged.push_back(item);
    }
  }
  return merged;
}

Json without_items(const Json& list, const Json& unwanted) {
  std::set<std::string> gone;
  for (const Json& item : unwanted) gone.insert(dump_json(item));
  Json kept = Json::array();
  for (const Json& item : list) {
    if (!gone.contains(dump_json(item))) kept.push_back(item);
  }
  return kept;
}

// Carries out the $patch items of a list of objects and takes them out of `patch`.
Status apply_item_directives(Json& original, Json& patch, std::string_view key) {
  Json plain = Json::array();
  std::set<std::string> deleted;
  bool replace = false;
  for (Json& item : patch) {
    auto directive = item.find(kDirective);
    if (directive == item.end()) {
      plain.push_back(std::move(item));
    } else if (str(*directive) == "delete") {
      if (!item.contains(key)) return no_merge_key(item, key);
      deleted.insert(identity(item, key));
    } else if (str(*directive) == "replace") {
      replace = true;
    } else if (str(*directive) == "merge") {
      return bad("merging lists cannot yet be specified in the patch");
    } else {
      return bad("unknown patch type found: " + dump_json(*directive));
    }
  }
  Json kept = Json::array();
  if (replace) {
    kept = std::exchange(plain, Json::array());
  } else {
    for (Json& item : original) {
      if (deleted.empty() || !item.contains(key) || !deleted.contains(identity(item, key)))
        kept.push_back(std::move(item));
    }
  }
  original = std::move(kept);
  patch = std::move(plain);
  return {};
}

Result<Json> merge_keyed_items(const MergeRule& rule, Json original, Json patch) {
  std::unordered_map<std::string, std::size_t> positions;
  for (std::size_t i = 0; i < original.size(); ++i) {
    if (original[i].contains(rule.key)) positions.emplace(identity(original[i], rule.key), i);
  }
  for (Json& item : patch) {
    if (!item.contains(rule.key)) return no_merge_key(item, rule.key);
    auto [it, added] = positions.emplace(identity(item, rule.key), original.size());
    if (added) {
      discard_nulls(item);
      remove_directives(item);
      original.push_back(std::move(item));
      continue;
    }
    Json& target = original[it->second];
    BRUME_TRY(target, merge_object(rule.type, std::move(target), std::move(item)));
  }
  return original;
}

Result<Json> merge_list(const MergeRule& rule, Json original, Json patch) {
  if (!rule.merge_list) return patch;
  if (original.empty() && patch.empty()) return original;
  bool objects = (original.empty() ? patch : original)[0].is_object();
  BRUME_CHECK(check_items(original, objects));
  BRUME_CHECK(check_items(patch, objects));
  const Json live = original;
  if (!objects) {
    return arrange(merge_scalars(original, patch), patch, live, {});
  }
  if (rule.key.empty()) return bad("cannot merge lists without merge key");
  BRUME_CHECK(apply_item_directives(original, patch, rule.key));
  const Json by = patch;
  BRUME_TRY(auto merged, merge_keyed_items(rule, std::move(original), std::move(patch)));
  return arrange(std::move(merged), by, live, rule.key);
}

// Every plain item of the patch's list must stand in the order list, in the same order.
Status check_order(const Json& patch, const Json& order, std::string_view key) {
  std::size_t next = 0;
  for (const Json& item : patch) {
    if (item.is_object() && item.contains(kDirective)) continue;
    auto id = identity(item, key);
    while (next < order.size() && identity(order[next], key) != id) ++next;
    if (next >= order.size() && !order.empty()) {
      return bad("The order in patch list:\n" + dump_json(patch) + "\n doesn't match " + std::string(kElementOrder) +
                 " list:\n" + dump_json(order) + "\n");
    }
    ++next;
  }
  return {};
}

// One $setElementOrder/<field>: merges the field's list, if the patch has it, and orders the outcome.
Status apply_element_order(const Type* type, const std::string& field, const Json& order, Json& original, Json& patch) {
  if (!order.is_array()) return bad(std::string(kElementOrder) + " list of " + field + " must be a list");
  auto rule = rule_for(type, field);
  auto live = original.find(field);
  auto change = patch.find(field);
  if (live != original.end() && !live->is_array()) return bad("expected a list in " + field);
  if (change != patch.end() && !change->is_array()) return bad("expected a list in the patch of " + field);
  bool has_live = live != original.end(), has_change = change != patch.end();
  if (!has_live && !has_change) return {};
  if (!rule.key.empty()) BRUME_CHECK(check_items(order, true));
  if (has_change) BRUME_CHECK(check_order(*change, order, rule.key));
  Json merged;
  if (!has_live) {
    merged = std::move(*change);
    discard_nulls(merged);
    remove_directives(merged);
  } else if (!has_change) {
    merged = *live;
  } else {
    BRUME_TRY(merged, merge_list(rule, *live, std::move(*change)));
  }
  if (!rule.key.empty()) {
    for (const Json& item : merged) {
      if (!item.is_object() || !item.contains(rule.key)) return no_merge_key(item, rule.key);
    }
  }
  original[field] = arrange(std::move(merged), order, has_live ? *live : Json::array(), rule.key);
  patch.erase(field);
  return {};
}

Status apply_element_orders(const Type* type, Json& original, Json& patch) {
  std::vector<std::pair<std::string, Json>> orders;
  for (auto it = patch.begin(); it != patch.end();) {
    if (!std::string_view(it.key()).starts_with(kElementOrder)) {
      ++it;
      continue;
    }
    std::string field;
    if (!directive_field(it.key(), kElementOrder, field)) return bad("bad patch format: " + it.key());
    orders.emplace_back(std::move(field), std::move(*it));
    it = patch.erase(it);
  }
  for (const auto& [field, order] : orders) BRUME_CHECK(apply_element_order(type, field, order, original, patch));
  return {};
}

Status apply_retain_keys(Json& original, Json& patch) {
  auto directive = patch.find(kRetainKeys);
  if (directive == patch.end()) return {};
  Json keys = std::move(*directive);
  patch.erase(directive);
  if (!keys.is_array()) return bad("invalid patch format of retainKeys");
  std::set<std::string, std::less<>> retained;
  for (const Json& key : keys) retained.insert(std::string(str(key)));
  for (const auto& [key, value] : patch.items()) {
    if (value.is_null() || key.starts_with(kDeleteFromList) || key.starts_with(kElementOrder)) continue;
    if (!retained.contains(key)) return bad("invalid patch format of retainKeys");
  }
  for (auto it = original.begin(); it != original.end();) {
    if (retained.contains(it.key())) {
      ++it;
    } else {
      it = original.erase(it);
    }
  }
  return {};
}

// Puts a value that has nothing to merge with.
void put(Json& original, const std::string& key, Json value) {
  discard_nulls(value);
  if (remove_directives(value)) {
    original[key] = std::move(value);
  } else {
    original.erase(key);
  }
}

Status merge_member(const Type* type, Json& original, const std::string& key, Json value) {
  if (value.is_null()) return original.erase(key), Status();
  auto live = original.find(key);
  bool mergeable = live != original.end() && live->type() == value.type() && live->is_structured();
  if (!mergeable) return put(original, key, std::move(value)), Status();
  auto rule = rule_for(type, key);
  if (live->is_object()) {
    BRUME_TRY(*live, merge_object(rule.type, std::move(*live), std::move(value)));
  } else {
    BRUME_TRY(*live, merge_list(rule, std::move(*live), std::move(value)));
  }
  return {};
}

Result<Json> merge_object(const Type* type, Json original, Json patch) {
  auto directive = patch.find(kDirective);
  if (directive != patch.end()) {
    if (str(*directive) == "delete") return Json::object();
    if (str(*directive) != "replace") return bad("unknown patch type found: " + dump_json(*directive));
    patch.erase(directive);
    return patch;
  }
  BRUME_CHECK(apply_retain_keys(original, patch));
  BRUME_CHECK(apply_element_orders(type, original, patch));
  for (auto& [key, value] : patch.items()) {
    if (!key.starts_with(kDeleteFromList)) {
      BRUME_CHECK(merge_member(type, original, key, std::move(value)));
      continue;
    }
    std::string field;
    if (!directive_field(key, kDeleteFromList, field)) return bad("bad patch format: " + key);
    auto live = original.find(field);
    if (live == original.end() || !live->is_array()) continue;
    if (!value.is_array()) return bad("bad patch format: " + key + " must be a list");
    *live = without_items(*live, value);
  }
  return original;
}

}  // namespace

Result<Json> strategic_merge_patch(const Type& type, Json doc, const Json& patch) {
  if (!patch.is_object()) return bad("a strategic merge patch must be an object");
  if (!doc.is_object()) doc = Json::object();
  return merge_object(&type, std::move(doc), patch);
}

}  // namespace brume::api
