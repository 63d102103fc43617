#include "rule_table.h"

#include "brume/base/log.h"

namespace brume::network {
namespace {

bool same_rules(const ChainSpec& a, const ChainSpec& b) {
  if (a.rules.size() != b.rules.size() || a.hook != b.hook) return false;
  for (std::size_t i = 0; i < a.rules.size(); ++i) {
    if (a.rules[i].bytes() != b.rules[i].bytes()) return false;
  }
  return true;
}

const Fragment& empty_fragment() {
  static const Fragment fragment;
  return fragment;
}

/// Emptied first, so that no rule refers to what is deleted afterwards.
void flush_chains(nft::Batch& batch, const Fragment& before, const Fragment& after) {
  for (const auto& [name, chain] : before.chains) {
    auto kept = after.chains.find(name);
    if (kept == after.chains.end() || !same_rules(chain, kept->second)) batch.flush_chain(name);
  }
}

void add_sets_and_chains(nft::Batch& batch, const Fragment& before, const Fragment& after) {
  for (const auto& [name, set] : after.sets) {
    if (!before.sets.contains(name)) batch.add_set(set);
  }
  for (const auto& [name, chain] : after.chains) {
    if (!before.chains.contains(name)) batch.add_chain(name, chain.hook);
  }
}

void add_rules(nft::Batch& batch, const Fragment& before, const Fragment& after) {
  for (const auto& [name, chain] : after.chains) {
    auto old = before.chains.find(name);
    if (old != before.chains.end() && same_rules(old->second, chain)) continue;
    for (const auto& rule : chain.rules) batch.add_rule(name, rule);
  }
}

void delete_sets_and_chains(nft::Batch& batch, const Fragment& before, const Fragment& after) {
  for (const auto& [name, set] : before.sets) {
    if (!after.sets.contains(name)) batch.delete_set(name);
  }
  for (const auto& [name, chain] : before.chains) {
    if (!after.chains.contains(name)) batch.delete_chain(name);
  }
}

}  // namespace

const Fragment* RuleTable::fragment(const std::string& owner) const {
  auto found = fragments_.find(owner);
  return found == fragments_.end() ? nullptr : &found->second;
}

Status RuleTable::replace(netlink::Socket& socket, std::map<std::string, Fragment> fragments) {
  nft::Batch batch(family_, name_);
  batch.add_table();  // deleting a table that is not there would fail
  batch.delete_table();
  batch.add_table();
  for (const auto& [owner, fragment] : fragments) add_sets_and_chains(batch, empty_fragment(), fragment);
  for (const auto& [owner, fragment] : fragments) add_rules(batch, empty_fragment(), fragment);
  std::set<ElementKey> written;
  for (const auto& [owner, fragment] : fragments) {
    for (const auto& [key, data] : fragment.elements) {
      if (written.insert(key).second) batch.add_element(key.first, key.second, data);
    }
  }
  BRUME_CHECK(batch.commit(socket));
  fragments_ = std::move(fragments);
  element_owners_.clear();
  for (const auto& [owner, fragment] : fragments_) {
    for (const auto& [key, data] : fragment.elements) element_owners_[key].insert(owner);
  }
  return {};
}

void RuleTable::write_element_changes(nft::Batch& batch, const FragmentChanges& changes,
                                      const std::set<std::string>& dying_sets, bool removals) const {
  std::set<ElementKey> touched;
  for (const auto& [owner, after] : changes) {
    if (const Fragment* before = fragment(owner)) {
      for (const auto& [key, data] : before->elements) touched.insert(key);
    }
    if (after.has_value()) {
      for (const auto& [key, data] : after->elements) touched.insert(key);
    }
  }
  for (const auto& key : touched) {
    if (dying_sets.contains(key.first)) continue;
    const nft::ElementData* before = nullptr;
    const nft::ElementData* after = nullptr;
    std::set<std::string> owners;
    if (auto found = element_owners_.find(key); found != element_owners_.end()) {
      owners = found->second;
      before = &fragments_.at(*owners.begin()).elements.at(key);
    }
    for (const auto& [owner, wanted] : changes) {
      if (wanted.has_value() && wanted->elements.contains(key)) {
        owners.insert(owner);
      } else {
        owners.erase(owner);
      }
    }
    if (!owners.empty()) {
      const auto& decides = *owners.begin();  // it stays: an owner whose fragment goes was erased above
      const auto changed = changes.find(decides);
      if (changed == changes.end()) {
        after = &fragments_.at(decides).elements.at(key);
      } else if (const auto& wanted = changed->second) {
        after = &wanted->elements.at(key);
      }
    }
    if (before != nullptr && after != nullptr && *before == *after) continue;
    if (removals && before != nullptr) batch.delete_element(key.first, key.second);
    if (!removals && after != nullptr) batch.add_element(key.first, key.second, *after);
  }
}

Status RuleTable::apply(netlink::Socket& socket, FragmentChanges changes) {
  nft::Batch batch(family_, name_);
  auto each = [&](auto&& step) {
    for (const auto& [owner, wanted] : changes) {
      const Fragment* before = fragment(owner);
      step(batch, before ? *before : empty_fragment(), wanted.has_value() ? *wanted : empty_fragment());
    }
  };
  std::set<std::string> dying_sets;
  each([&](nft::Batch&, const Fragment& before, const Fragment& after) {
    for (const auto& [name, set] : before.sets) {
      if (!after.sets.contains(name)) dying_sets.insert(name);
    }
  });
  each(flush_chains);
  each(add_sets_and_chains);
  write_element_changes(batch, changes, dying_sets, true);
  write_element_changes(batch, changes, dying_sets, false);
  each(add_rules);
  each(delete_sets_and_chains);
  Status status = batch.commit(socket);
  if (status.has_value()) {
    remember(std::move(changes));
    return {};
  }
  log::warn("nf_tables refused a change; replacing the whole table",
            {{"table", name_}, {"error", status.error().message}});
  std::map<std::string, Fragment> all = fragments_;
  for (auto& [owner, wanted] : changes) {
    if (wanted.has_value()) {
      all[owner] = std::move(*wanted);
    } else {
      all.erase(owner);
    }
  }
  return replace(socket, std::move(all));
}

void RuleTable::remember(FragmentChanges changes) {
  for (auto& [owner, wanted] : changes) {
    if (auto old = fragments_.find(owner); old != fragments_.end()) {
      for (const auto& [key, data] : old->second.elements) {
        auto owners = element_owners_.find(key);
        owners->second.erase(owner);
        if (owners->second.empty()) element_owners_.erase(owners);
      }
      fragments_.erase(old);
    }
    if (!wanted.has_value()) continue;
    for (const auto& [key, data] : wanted->elements) element_owners_[key].insert(owner);
    fragments_.emplace(owner, std::move(*wanted));
  }
}

Status RuleTable::remove(netlink::Socket& socket) {
  fragments_.clear();
  element_owners_.clear();
  nft::Batch batch(family_, name_);
  batch.add_table();
  batch.delete_table();
  return batch.commit(socket);
}

}  // namespace brume::network
