#include "tallies.h"

#include <algorithm>
#include <functional>

#include "cache.h"

namespace brume::scheduler {

namespace {

/// Selectors whose counts are kept; beyond, those that were not used for longest are dropped (and counted anew when
/// they are asked for again). Keeping one costs a few words a node.
constexpr std::size_t kMaxCounted = 1024;
/// Likewise of topologies.
constexpr std::size_t kMaxTopologies = 256;

}  // namespace

// Topology
// ---------------------------------------------------------------------------------------------------------------

void Topology::set(std::uint32_t node, const std::string* value) {
  if (node >= domain_of_.size()) domain_of_.resize(node + 1, kNone);
  std::int32_t now = kNone;
  if (value != nullptr) {
    const auto [it, fresh] = ids_.try_emplace(*value, static_cast<std::int32_t>(nodes_in_.size()));
    if (fresh) nodes_in_.push_back(0);
    now = it->second;
  }
  const auto before = domain_of_[node];
  if (before == now) return;
  if (before != kNone) --nodes_in_[static_cast<std::size_t>(before)];
  if (now != kNone) ++nodes_in_[static_cast<std::size_t>(now)];
  nodes_ += (now != kNone ? 1 : 0) - (before != kNone ? 1 : 0);
  domain_of_[node] = now;
  ++version_;
}

// Tally
// ---------------------------------------------------------------------------------------------------------------

void Tally::add(std::uint32_t node, std::int64_t amount) {
  if (node >= by_node_.size()) by_node_.resize(node + 1, 0);
  by_node_[node] += amount;
  total_ += amount;
  for (auto& sums : sums_) {
    const auto domain = sums.topology->domain(node);
    if (domain != Topology::kNone && static_cast<std::size_t>(domain) < sums.by_domain.size()) {
      sums.by_domain[static_cast<std::size_t>(domain)] += amount;
    }
  }
}

void Tally::forget(const std::vector<std::unique_ptr<Topology>>& topologies) {
  std::erase_if(sums_, [&](const Sums& sums) {
    return std::any_of(topologies.begin(), topologies.end(),
                       [&](const auto& topology) { return topology.get() == sums.topology; });
  });
}

const std::vector<std::int64_t>& Tally::by_domain(const Topology& topology) {
  auto it = std::find_if(sums_.begin(), sums_.end(), [&](const Sums& sums) { return sums.topology == &topology; });
  if (it == sums_.end()) it = sums_.insert(sums_.end(), Sums{&topology, 0, {}});
  if (it->version != topology.version_) {
    it->version = topology.version_;
    it->by_domain.assign(topology.size(), 0);
    for (std::uint32_t node = 0; node < by_node_.size(); ++node) {
      const auto domain = topology.domain(node);
      if (domain != Topology::kNone) it->by_domain[static_cast<std::size_t>(domain)] += by_node_[node];
    }
  }
  return it->by_domain;
}

// SelectorIndex
// -------------------------------------------------------------------------------------------------------------

std::size_t SelectorIndex::hash(std::string_view key, std::string_view value) {
  const std::hash<std::string_view> hasher;
  return hasher(key) * 1099511628211ULL ^ hasher(value);
}

const std::size_t* SelectorIndex::file_of(const api::LabelSelector& selector, std::size_t& out) {
  using Op = api::LabelSelector::Op;
  for (const auto& requirement : selector.requirements()) {
    if ((requirement.op != Op::kEquals && requirement.op != Op::kIn) || requirement.values.size() != 1) continue;
    out = hash(requirement.key, requirement.values.front());
    return &out;
  }
  return nullptr;
}

void SelectorIndex::add(const api::LabelSelector& selector, std::uint32_t id) {
  if (selector.selects_nothing()) return;
  std::size_t file = 0;
  (file_of(selector, file) != nullptr ? filed_[file] : unfiled_).push_back(id);
}

void SelectorIndex::remove(const api::LabelSelector& selector, std::uint32_t id) {
  std::size_t file = 0;
  if (file_of(selector, file) == nullptr) {
    std::erase(unfiled_, id);
    return;
  }
  const auto it = filed_.find(file);
  if (it == filed_.end()) return;
  std::erase(it->second, id);
  if (it->second.empty()) filed_.erase(it);
}

// Tallies
// -------------------------------------------------------------------------------------------------------------

const api::StringMap& Tallies::namespace_labels(const std::string& ns) const {
  static const api::StringMap kNone;
  return namespace_labels_ ? namespace_labels_(ns) : kNone;
}

void Tallies::namespaces_changed() {
  for (std::uint32_t number = 0; number < counted_.size(); ++number) {
    if (!counted_[number]) continue;
    const auto& selectors = counted_[number]->selectors;
    if (std::any_of(selectors.begin(), selectors.end(), [](const auto& s) { return s.by_namespace_labels(); })) {
      drop(number);
    }
  }
}

const Topology& Tallies::topology(const std::string& key) {
  auto& slot = topologies_[key];
  if (!slot) {
    slot = std::make_unique<Topology>();
    for (const auto* node : cache_.nodes()) slot->set(node->index, node->label(key));
  }
  slot->used_ = ++clock_;
  return *slot;
}

void Tallies::trim() {
  if (topologies_.size() <= kMaxTopologies) return;
  std::vector<std::uint64_t> uses;
  for (const auto& [key, topology] : topologies_) uses.push_back(topology->used_);
  const auto middle = uses.begin() + static_cast<std::ptrdiff_t>(uses.size() / 2);
  std::nth_element(uses.begin(), middle, uses.end());
  std::vector<std::unique_ptr<Topology>> dropped;
  for (auto it = topologies_.begin(); it != topologies_.end();) {
    if (it->second->used_ >= *middle) {
      ++it;
      continue;
    }
    dropped.push_back(std::move(it->second));
    it = topologies_.erase(it);
  }
  for (const auto& counted : counted_) {
    if (counted) counted->tally->forget(dropped);
  }
  for (const auto& carried : carried_) {
    for (const auto& term : carried.terms) {
      if (term) term->tally.forget(dropped);
    }
  }
}

void Tallies::node_changed(const NodeInfo& node) {
  for (auto& [key, topology] : topologies_) topology->set(node.index, node.label(key));
}

void Tallies::node_gone(const NodeInfo& node) {
  for (auto& [key, topology] : topologies_) {
    topology->set(node.index, nullptr);
    // Host names that came and went must not pile up.
    if (topology->size() < 64 || topology->size() < 2 * cache_.nodes().size()) continue;
    Topology fresh;
    for (const auto* other : cache_.nodes()) fresh.set(other->index, other->label(key));
    fresh.version_ = topology->version_ + 1;
    fresh.used_ = topology->used_;
    *topology = std::move(fresh);
  }
}

bool Tallies::matches(const Counted& counted, const PodInfo& pod) const {
  if (!counted.with_deleting && pod.object->deleting()) return false;
  const auto& labels = namespace_labels(pod.ns());
  return std::all_of(counted.selectors.begin(), counted.selectors.end(),
                     [&](const PodSelector& selector) { return selector.matches(pod, labels); });
}

std::shared_ptr<Tally> Tallies::pods(std::span<const PodSelector* const> selectors, bool with_deleting) {
  std::string id = with_deleting ? "+" : "-";
  for (const auto* selector : selectors) id += selector->id + "&";
  if (const auto it = by_id_.find(id); it != by_id_.end()) {
    counted_[it->second]->used = ++clock_;
    return counted_[it->second]->tally;
  }
  if (by_id_.size() >= kMaxCounted) drop_unused();
  auto made = std::make_unique<Counted>();
  made->id = id;
  for (const auto* selector : selectors) made->selectors.push_back(*selector);
  made->with_deleting = with_deleting;
  made->used = ++clock_;
  made->tally = std::make_shared<Tally>();
  cache_.each([&](const NodeInfo& node) {
    for (const auto& pod : node.pods) {
      if (matches(*made, *pod)) made->tally->add(node.index, 1);
    }
  });
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(counted_.size()));
    counted_.emplace_back();
  }
  const auto number = free_.back();
  free_.pop_back();
  index_.add(made->selectors.front().labels, number);
  by_id_.emplace(std::move(id), number);
  counted_[number] = std::move(made);
  return counted_[number]->tally;
}

void Tallies::drop(std::uint32_t number) {
  auto& counted = counted_[number];
  index_.remove(counted->selectors.front().labels, number);
  by_id_.erase(counted->id);
  counted = nullptr;
  free_.push_back(number);
}

void Tallies::drop_unused() {
  std::vector<std::pair<std::uint64_t, std::uint32_t>> ages;
  for (std::uint32_t number = 0; number < counted_.size(); ++number) {
    if (counted_[number]) ages.emplace_back(counted_[number]->used, number);
  }
  std::sort(ages.begin(), ages.end());
  for (std::size_t i = 0; i < ages.size() / 2; ++i) drop(ages[i].second);
}

void Tallies::count(const PodInfo& pod, std::uint32_t node, std::int64_t sign) {
  index_.candidates(pod.object->labels(), [&](std::uint32_t number) {
    auto& counted = *counted_[number];
    if (matches(counted, pod)) counted.tally->add(node, sign);
  });
  if (!pod.spec->has_affinity_terms()) return;
  for (const auto& term : pod.spec->affinity) carry(TermKind::kAffinity, term, node, sign);
  for (const auto& term : pod.spec->anti_affinity) carry(TermKind::kAntiAffinity, term, node, sign);
  for (const auto& term : pod.spec->preferred_affinity) carry(TermKind::kPreferred, term, node, sign * term.weight);
  for (const auto& term : pod.spec->preferred_anti_affinity) {
    carry(TermKind::kPreferredAnti, term, node, sign * term.weight);
  }
}

void Tallies::carry(TermKind kind, const AffinityTerm& term, std::uint32_t node, std::int64_t amount) {
  auto& carried = carried_[static_cast<std::size_t>(kind)];
  auto it = carried.by_id.find(term.id);
  if (it == carried.by_id.end()) {
    if (carried.free.empty()) {
      carried.free.push_back(static_cast<std::uint32_t>(carried.terms.size()));
      carried.terms.emplace_back();
    }
    const auto number = carried.free.back();
    carried.free.pop_back();
    carried.terms[number] = std::make_unique<CarriedTerm>(CarriedTerm{.term = term});
    carried.index.add(term.pods.labels, number);
    it = carried.by_id.emplace(term.id, number).first;
  }
  const auto number = it->second;
  auto& slot = carried.terms[number];
  slot->tally.add(node, amount);
  slot->pods += amount < 0 ? static_cast<std::size_t>(-1) : 1;
  if (slot->pods > 0) return;
  carried.index.remove(term.pods.labels, number);
  carried.by_id.erase(it);
  slot = nullptr;
  carried.free.push_back(number);
}

void Tallies::each_carried(TermKind kind, const PodInfo& pod, const std::function<void(CarriedTerm&)>& visit) {
  auto& carried = carried_[static_cast<std::size_t>(kind)];
  if (carried.by_id.empty()) return;
  const auto& labels = namespace_labels(pod.ns());
  carried.index.candidates(pod.object->labels(), [&](std::uint32_t number) {
    auto& term = *carried.terms[number];
    if (term.term.pods.matches(pod, labels)) visit(term);
  });
}

}  // namespace brume::scheduler
