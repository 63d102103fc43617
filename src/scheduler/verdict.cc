#include "verdict.h"

#include <algorithm>
#include <deque>
#include <map>

namespace brume::scheduler {

namespace {

/// Ids from here on are passing ones.
constexpr ReasonId kFirstPassing = 0x4000;

class ReasonTable {
 public:
  explicit ReasonTable(ReasonId first) : first_(first) {}
  ReasonId id(std::string_view text) {
    if (auto it = ids_.find(text); it != ids_.end()) return it->second;
    // So many different texts within one cycle are no help to anybody: the last stands for the rest.
    if (texts_.size() == kFirstPassing) return static_cast<ReasonId>(first_ + texts_.size() - 1);
    const auto id = static_cast<ReasonId>(first_ + texts_.size());
    texts_.emplace_back(text);
    ids_.emplace(texts_.back(), id);
    return id;
  }
  [[nodiscard]] const std::string& text(ReasonId id) const { return texts_.at(id - first_); }
  void clear() {
    ids_.clear();
    texts_.clear();
  }

 private:
  ReasonId first_;
  std::map<std::string_view, ReasonId> ids_;
  std::deque<std::string> texts_;
};

// One loop schedules; tests may have several, each with ids of its own.
ReasonTable& lasting() {
  thread_local ReasonTable table(0);
  return table;
}

ReasonTable& passing() {
  thread_local ReasonTable table(kFirstPassing);
  return table;
}

}  // namespace

ReasonId reason_id(std::string_view text) { return lasting().id(text); }
ReasonId passing_reason(std::string_view text) { return passing().id(text); }
void forget_passing_reasons() { passing().clear(); }

const std::string& reason_text(ReasonId id) { return id < kFirstPassing ? lasting().text(id) : passing().text(id); }

void Verdict::add(Code graver, ReasonId reason) {
  code = std::max(code, graver);
  if (count < reasons.size()) reasons[count++] = reason;
}

std::string Verdict::message() const {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out.append(i == 0 ? "" : ", ").append(reason_text(reasons[i]));
  return out;
}

}  // namespace brume::scheduler
