// Tallies: how many pods of a kind are on each node and in each topology domain, kept up to date as pods come and go.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "types.h"

namespace brume::scheduler {

class NodeCache;

/// The domains of one topology key (zones, host names) as small numbers.
class Topology {
 public:
  static constexpr std::int32_t kNone = -1;

  /// The domain of the node with this index, or kNone when it lacks the label.
  [[nodiscard]] std::int32_t domain(std::uint32_t node) const {
    return node < domain_of_.size() ? domain_of_[node] : kNone;
  }
  /// Domain numbers are below this; some may have no node any more.
  [[nodiscard]] std::size_t size() const { return nodes_in_.size(); }
  /// How many nodes have the label; and of one domain.
  [[nodiscard]] std::size_t nodes() const { return nodes_; }
  [[nodiscard]] std::int32_t nodes_in(std::size_t domain) const { return nodes_in_[domain]; }

 private:
  friend class Tally;
  friend class Tallies;
  void set(std::uint32_t node, const std::string* value);

  std::vector<std::int32_t> domain_of_;  // by node index
  std::vector<std::int32_t> nodes_in_;   // by domain
  std::size_t nodes_ = 0;
  std::unordered_map<std::string, std::int32_t> ids_;  // by the label's value
  std::uint64_t version_ = 1;                          // raised when a node with pods moves to another domain
  std::uint64_t used_ = 0;                             // when it was asked for last
};

/// Amounts by node, and by domain of the keys that were asked for.
class Tally {
 public:
  [[nodiscard]] std::int64_t on(std::uint32_t node) const { return node < by_node_.size() ? by_node_[node] : 0; }
  [[nodiscard]] std::span<const std::int64_t> by_node() const { return by_node_; }
  /// By domain of `topology`; as long as it has domains. Valid until the next change.
  const std::vector<std::int64_t>& by_domain(const Topology& topology);
  [[nodiscard]] std::int64_t total() const { return total_; }

 private:
  friend class Tallies;
  void add(std::uint32_t node, std::int64_t amount);
  void forget(const std::vector<std::unique_ptr<Topology>>& topologies);
  struct Sums {
    const Topology* topology;
    std::uint64_t version;
    std::vector<std::int64_t> by_domain;
  };
  std::vector<std::int64_t> by_node_;
  std::vector<Sums> sums_;  // a few
  std::int64_t total_ = 0;
};

/// Finds the selectors that may match some labels without trying them all: a selector that demands a value of a label
/// is filed under both, the others under nothing.
class SelectorIndex {
 public:
  void add(const api::LabelSelector& selector, std::uint32_t id);
  void remove(const api::LabelSelector& selector, std::uint32_t id);
  /// Calls for each that may match; `visit` tests it.
  template <typename Visit>
  void candidates(const api::StringMap& labels, Visit visit) const {
    for (const auto id : unfiled_) visit(id);
    if (filed_.empty()) return;
    for (const auto& [key, value] : labels) {
      const auto it = filed_.find(hash(key, value));
      if (it == filed_.end()) continue;
      for (const auto id : it->second) visit(id);
    }
  }

 private:
  static std::size_t hash(std::string_view key, std::string_view value);
  static const std::size_t* file_of(const api::LabelSelector& selector, std::size_t& out);
  std::unordered_map<std::size_t, std::vector<std::uint32_t>> filed_;
  std::vector<std::uint32_t> unfiled_;
};

/// How a placed pod's own affinity term bears on others.
enum class TermKind : std::uint8_t { kAffinity, kAntiAffinity, kPreferred, kPreferredAnti, kCount };

/// A term that placed pods carry. Amounts are the number of such pods; of preferences, their weights' sum.
struct CarriedTerm {
  AffinityTerm term;
  std::size_t pods = 0;
  Tally tally;
};

/// Counts are made by one look at all pods when a selector is first asked for, then kept by each pod that comes or
/// goes, for as long as the selector is in use. Owner: the scheduler's loop.
class Tallies {
 public:
  using NamespaceLabels = std::function<const api::StringMap&(const std::string& ns)>;

  explicit Tallies(const NodeCache& cache) : cache_(cache) {}

  /// Where labels of namespaces come from; until set none has any.
  void set_namespace_labels(NamespaceLabels labels) { namespace_labels_ = std::move(labels); }
  [[nodiscard]] const api::StringMap& namespace_labels(const std::string& ns) const;
  /// A namespace's labels changed, or it came or went.
  void namespaces_changed();

  /// The topology of a label key, of all nodes. Valid until trim().
  const Topology& topology(const std::string& key);
  /// Between two pods' cycles: of the label keys that pods named (whoever makes a pod invents them) those that were not
  /// asked for lately are forgotten, if there are many.
  void trim();
  [[nodiscard]] std::size_t topologies() const { return topologies_.size(); }

  /// Placed pods that match all of `selectors`; those being deleted count if `with_deleting`.
  std::shared_ptr<Tally> pods(std::span<const PodSelector* const> selectors, bool with_deleting);

  /// Calls `visit` for each distinct term of this kind that a placed pod carries and that means `pod`.
  void each_carried(TermKind kind, const PodInfo& pod, const std::function<void(CarriedTerm&)>& visit);
  /// Whether any placed pod carries such a term.
  [[nodiscard]] bool carried(TermKind kind) const { return !at(kind).by_id.empty(); }

  // NodeCache tells:
  void node_changed(const NodeInfo& node);
  void node_gone(const NodeInfo& node);
  void placed(const PodInfo& pod, std::uint32_t node) { count(pod, node, 1); }
  void removed(const PodInfo& pod, std::uint32_t node) { count(pod, node, -1); }

  [[nodiscard]] std::size_t size() const { return by_id_.size(); }

 private:
  struct Counted {
    std::string id;
    std::vector<PodSelector> selectors;
    bool with_deleting = true;
    std::uint64_t used = 0;
    std::shared_ptr<Tally> tally;
  };
  struct Carried {
    std::unordered_map<std::string, std::uint32_t> by_id;
    std::vector<std::unique_ptr<CarriedTerm>> terms;  // by number; null: free
    std::vector<std::uint32_t> free;
    SelectorIndex index;
  };
  [[nodiscard]] bool matches(const Counted& counted, const PodInfo& pod) const;
  void count(const PodInfo& pod, std::uint32_t node, std::int64_t sign);
  void carry(TermKind kind, const AffinityTerm& term, std::uint32_t node, std::int64_t sign);
  void drop(std::uint32_t number);
  void drop_unused();
  [[nodiscard]] const Carried& at(TermKind kind) const { return carried_[static_cast<std::size_t>(kind)]; }

  const NodeCache& cache_;
  NamespaceLabels namespace_labels_;
  std::unordered_map<std::string, std::unique_ptr<Topology>> topologies_;
  std::vector<std::unique_ptr<Counted>> counted_;  // by number; null: free
  std::vector<std::uint32_t> free_;
  std::unordered_map<std::string, std::uint32_t> by_id_;
  SelectorIndex index_;
  std::uint64_t clock_ = 0;  // counts uses
  Carried carried_[static_cast<std::size_t>(TermKind::kCount)];
};

}  // namespace brume::scheduler
