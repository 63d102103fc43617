// CycleState: what plugins keep for the pod in hand between their extension points.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace brume::scheduler {

/// A place for a plugin's state of type T. A plugin has one as a member for each state that it keeps.
template <typename T>
class StateSlot {
 public:
  StateSlot() : id_(next()) {}

 private:
  friend class CycleState;
  static std::size_t next();
  std::size_t id_;
};

namespace detail {
std::size_t next_state_slot();
}
template <typename T>
std::size_t StateSlot<T>::next() {
  return detail::next_state_slot();
}

/// Lives from a pod's pre_filter to the end of its binding; each attempt has one of its own. Owner: the scheduler's
/// loop.
///
///   struct Wanted { std::vector<HostPort> ports; };
///   StateSlot<Wanted> wanted_;                       // member of the plugin
///   state.put(wanted_, {.ports = ...});              // in pre_filter
///   const Wanted* wanted = state.find(wanted_);      // in filter; null when nothing was put
class CycleState {
 public:
  CycleState() = default;
  CycleState(const CycleState&) = delete;
  CycleState& operator=(const CycleState&) = delete;

  template <typename T>
  T& put(const StateSlot<T>& slot, T value = {}) {
    auto made = std::make_unique<Holder<T>>(std::move(value));
    T& out = made->value;
    for (auto& entry : entries_) {
      if (entry.first != slot.id_) continue;
      entry.second = std::move(made);
      return out;
    }
    entries_.emplace_back(slot.id_, std::move(made));
    return out;
  }

  template <typename T>
  [[nodiscard]] T* find(const StateSlot<T>& slot) const {
    for (const auto& entry : entries_) {
      if (entry.first == slot.id_) return &static_cast<Holder<T>*>(entry.second.get())->value;
    }
    return nullptr;
  }

 private:
  struct Base {
    virtual ~Base() = default;
  };
  template <typename T>
  struct Holder final : Base {
    explicit Holder(T v) : value(std::move(v)) {}
    T value;
  };
  std::vector<std::pair<std::size_t, std::unique_ptr<Base>>> entries_;  // a handful, so looked through
};

}  // namespace brume::scheduler
