#include "framework.h"

#include <algorithm>
#include <atomic>
#include <map>

#include "brume/base/task.h"

namespace brume::scheduler {

namespace detail {
// Slots are made when profiles are, which is once.
std::size_t next_state_slot() {
  static std::atomic<std::size_t> last = 0;
  return ++last;
}
}  // namespace detail

Task<Verdict> Plugin::pre_bind(std::shared_ptr<CycleState>, PodPtr, std::string) { co_return Verdict{}; }
Task<Verdict> Plugin::bind(std::shared_ptr<CycleState>, PodPtr, std::string) { co_return Verdict::skipped(); }

void normalize_by_max(std::span<std::int64_t> scores, bool reverse) {
  std::int64_t most = 0;
  for (const auto score : scores) most = std::max(most, score);
  for (auto& score : scores) {
    if (most == 0) {
      score = reverse ? kMaxScore : 0;
      continue;
    }
    score = score * kMaxScore / most;
    if (reverse) score = kMaxScore - score;
  }
}

const Verdict& Diagnosis::of(const NodeInfo* node) const {
  const auto it = std::find_if(answers.begin(), answers.end(), [&](const auto& entry) { return entry.node == node; });
  return it == answers.end() ? absent : it->verdict;
}

std::string Diagnosis::message() const {
  std::string out = "0/" + std::to_string(nodes) + " nodes are available:";
  if (!pre_filter_message.empty()) {
    out += " " + pre_filter_message + ".";
  } else {
    std::map<ReasonId, std::size_t> counts;
    for (const auto& [node, verdict] : answers) {
      for (std::size_t i = 0; i < verdict.count; ++i) ++counts[verdict.reasons[i]];
    }
    const std::size_t others = nodes > answers.size() ? nodes - answers.size() : 0;
    for (std::size_t i = 0; others > 0 && i < absent.count; ++i) counts[absent.reasons[i]] += others;
    // Sorted by their text, numbers included.
    std::vector<std::string> parts;
    for (const auto& [reason, count] : counts) parts.push_back(std::to_string(count) + " " + reason_text(reason));
    std::sort(parts.begin(), parts.end());
    for (std::size_t i = 0; i < parts.size(); ++i) out += (i == 0 ? " " : ", ") + parts[i];
    if (!parts.empty()) out += ".";
  }
  if (!post_filter_message.empty()) out += " " + post_filter_message;
  return out;
}

}  // namespace brume::scheduler
