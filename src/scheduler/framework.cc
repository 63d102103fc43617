#include "framework.h"

#include <algorithm>
#include <deque>
#include <map>

namespace brume::scheduler {

namespace {

struct Reasons {
  std::map<std::string, ReasonId, std::less<>> ids;
  std::deque<std::string> texts;
};

Reasons& reasons() {
  thread_local Reasons table;
  return table;
}

}  // namespace

ReasonId reason_id(std::string_view text) {
  auto& table = reasons();
  auto it = table.ids.find(text);
  if (it != table.ids.end()) return it->second;
  const auto id = static_cast<ReasonId>(table.texts.size());
  table.texts.emplace_back(text);
  table.ids.emplace(std::string(text), id);
  return id;
}

const std::string& reason_text(ReasonId id) { return reasons().texts.at(id); }

void Verdict::add(ReasonId reason, Kind of) {
  kind = std::max(kind, of);
  if (count < reasons.size()) reasons[count++] = reason;
}

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

}  // namespace brume::scheduler
