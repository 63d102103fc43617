// Verdict: how a plugin answers, and the reasons it gives.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace brume::scheduler {

/// A reason as a small number: thousands of nodes give the same few. Owner: the scheduler's loop.
using ReasonId = std::uint16_t;

/// The id of a text from a small fixed set, kept for the life of the process. Look it up once:
/// `static thread_local const ReasonId kReason = reason_id("...")`.
ReasonId reason_id(std::string_view text);
/// The id of a text that names something (a claim, a class, an error): it is valid until forget_passing_reasons(),
/// which the scheduler calls before each pod. So a coroutine makes such a verdict after its last co_await.
ReasonId passing_reason(std::string_view text);
void forget_passing_reasons();
const std::string& reason_text(ReasonId id);

/// A plugin's answer. Small enough to be given for each node. A value.
struct Verdict {
  enum class Code : std::uint8_t {
    kSuccess,
    kUnschedulable,  ///< not now; might do if other pods went, so preemption may be tried
    kUnresolvable,   ///< not now, and nobody's going would change that
    kPending,        ///< not now; something is under way whose end is an event that the plugin registered
    kWait,           ///< of permit: not yet
    kSkip,           ///< of pre_filter and pre_score: the plugin has nothing to say about this pod; of bind: not mine
    kError,          ///< something broke; the pod is tried again after its back-off
  };
  static constexpr std::size_t kMaxReasons = 6;

  Code code = Code::kSuccess;
  std::uint8_t count = 0;
  std::array<ReasonId, kMaxReasons> reasons{};

  [[nodiscard]] bool ok() const { return code == Code::kSuccess; }
  [[nodiscard]] bool skip() const { return code == Code::kSkip; }
  /// The pod does not fit, as opposed to something having gone wrong.
  [[nodiscard]] bool rejected() const {
    return code == Code::kUnschedulable || code == Code::kUnresolvable || code == Code::kPending;
  }
  /// The reasons joined by ", ".
  [[nodiscard]] std::string message() const;

  static Verdict skipped() { return {.code = Code::kSkip}; }
  static Verdict unschedulable(ReasonId reason) { return {Code::kUnschedulable, 1, {reason}}; }
  static Verdict unresolvable(ReasonId reason) { return {Code::kUnresolvable, 1, {reason}}; }
  static Verdict pending(ReasonId reason) { return {Code::kPending, 1, {reason}}; }
  static Verdict error(std::string_view text) { return {Code::kError, 1, {passing_reason(text)}}; }
  static Verdict waiting() { return {.code = Code::kWait}; }

  /// One more reason, of a filter that gives several: the graver of the codes counts. Those beyond kMaxReasons are left
  /// out.
  void add(Code graver, ReasonId reason);
};

}  // namespace brume::scheduler
