#include "worker/signals.h"

#include <signal.h>

#include <utility>

#include "brume/base/strings.h"

namespace brume::node {

std::optional<int> signal_number(std::string_view name) {
  constexpr int kRtMin = 34;  // glibc's and musl's SIGRTMIN differ; containers mean the kernel ABI's as glibc shows it
  constexpr int kRtMax = 64;
  static constexpr std::pair<std::string_view, int> kNames[] = {
      {"HUP", SIGHUP},   {"INT", SIGINT},       {"QUIT", SIGQUIT},     {"ILL", SIGILL},   {"TRAP", SIGTRAP},
      {"ABRT", SIGABRT}, {"IOT", SIGABRT},      {"BUS", SIGBUS},       {"FPE", SIGFPE},   {"KILL", SIGKILL},
      {"USR1", SIGUSR1}, {"SEGV", SIGSEGV},     {"USR2", SIGUSR2},     {"PIPE", SIGPIPE}, {"ALRM", SIGALRM},
      {"TERM", SIGTERM}, {"STKFLT", SIGSTKFLT}, {"CHLD", SIGCHLD},     {"CLD", SIGCHLD},  {"CONT", SIGCONT},
      {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},     {"TTIN", SIGTTIN},     {"TTOU", SIGTTOU}, {"URG", SIGURG},
      {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},     {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH},
      {"IO", SIGIO},     {"POLL", SIGIO},       {"PWR", SIGPWR},       {"SYS", SIGSYS}};
  if (const auto number = parse_int(name)) {
    if (*number < 1 || *number > kRtMax) return std::nullopt;
    return static_cast<int>(*number);
  }
  if (name.starts_with("SIG")) name.remove_prefix(3);
  for (const auto& [known, number] : kNames) {
    if (known == name) return number;
  }
  const bool from_min = name.starts_with("RTMIN");
  if (!from_min && !name.starts_with("RTMAX")) return std::nullopt;
  name.remove_prefix(5);
  int number = from_min ? kRtMin : kRtMax;
  if (!name.empty()) {
    const auto offset = parse_int(name.substr(1));
    if (!offset || name.front() != (from_min ? '+' : '-') || *offset < 0 || *offset > kRtMax - kRtMin)
      return std::nullopt;
    number += from_min ? static_cast<int>(*offset) : -static_cast<int>(*offset);
  }
  return number;
}

}  // namespace brume::node
