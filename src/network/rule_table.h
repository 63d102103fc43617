// RuleTable: one nf_tables table described by what should be in it. Each owner (a service, a pod) contributes a
// Fragment; a change of fragments becomes one transaction that touches nothing else.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "brume/base/result.h"
#include "brume/linux/nft.h"

namespace brume::network {

/// A chain as it should be: its hook, if it is a base chain, and its rules.
struct ChainSpec {
  std::optional<nft::Hook> hook;
  std::vector<nft::Rule> rules;
};

/// What one owner wants in the table. Chains and sets belong to one owner only; elements may be put into sets of other
/// owners, and two owners may want the same element: then the owner whose name sorts first decides what it maps to.
struct Fragment {
  std::map<std::string, nft::Set> sets;
  std::map<std::string, ChainSpec> chains;
  std::map<std::pair<std::string, std::string>, nft::ElementData> elements;  ///< by set and key

  void element(std::string set, std::string key, nft::ElementData data = {}) {
    elements.emplace(std::pair(std::move(set), std::move(key)), std::move(data));
  }
};

/// New fragments by owner; an empty optional removes the owner's.
using FragmentChanges = std::map<std::string, std::optional<Fragment>>;

/// Not thread-safe. Calls block for the kernel's work.
class RuleTable {
 public:
  RuleTable(nft::Family family, std::string name) : family_(family), name_(std::move(name)) {}

  /// Makes the kernel's table hold exactly these fragments, in one step: no packet sees a moment without rules, and
  /// tracked connections stay.
  Status replace(netlink::Socket& socket, std::map<std::string, Fragment> fragments);
  /// Changes only what differs. If that fails (someone else deleted or changed the table), replaces the whole table.
  Status apply(netlink::Socket& socket, FragmentChanges changes);
  /// Deletes the table, if it is there.
  Status remove(netlink::Socket& socket);

  [[nodiscard]] const Fragment* fragment(const std::string& owner) const;
  [[nodiscard]] nft::Family family() const { return family_; }
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  using ElementKey = std::pair<std::string, std::string>;
  void write_element_changes(nft::Batch& batch, const FragmentChanges& changes, const std::set<std::string>& dying_sets,
                             bool removals) const;
  void remember(FragmentChanges changes);
  nft::Family family_;
  std::string name_;
  std::map<std::string, Fragment> fragments_;
  std::map<ElementKey, std::set<std::string>> element_owners_;
};

}  // namespace brume::network
