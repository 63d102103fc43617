#include "worker/lifecycle.h"

#include <algorithm>

namespace brume::node {

namespace {

using State = ContainerRun::State;

bool restarts(const ContainerRun& run) {
  if (run.state != State::kExited) return false;
  if (run.sidecar || run.redefined || matching_rule(run) != nullptr || run.policy == "Always") return true;
  return run.policy == "OnFailure" && run.exit_code != 0;
}

std::vector<RestartRule> rules_of(const Json& container) {
  std::vector<RestartRule> out;
  for (const Json& item : at(container, "restartPolicyRules")) {
    RestartRule rule;
    rule.whole_pod = str(item, "action") == "RestartAllContainers";
    rule.listed = str(at(item, "exitCodes"), "operator") == "In";
    for (const Json& code : at(item, "exitCodes", "values"))
      if (code.is_number_integer()) rule.codes.push_back(code.get<std::int64_t>());
    out.push_back(std::move(rule));
  }
  return out;
}

// Walks the init containers in order up to the first that is not done. False while there is one.
bool decide_init(const std::vector<ContainerRun>& runs, Decision& out) {
  for (std::size_t i = 0; i < runs.size() && runs[i].kind == ContainerKind::kInit; ++i) {
    const ContainerRun& run = runs[i];
    if (run.sidecar) {
      if (run.state != State::kRunning) out.start.push_back(i);
      if (!run.started) return false;
      continue;
    }
    if (run.succeeded()) continue;
    if (run.state == State::kRunning) return false;
    if (run.state == State::kWaiting) {
      out.start.push_back(i);
    } else if (restarts(run)) {
      out.start.push_back(i);
    } else {
      out.complete = true;
    }
    return false;
  }
  return true;
}

}  // namespace

const RestartRule* matching_rule(const ContainerRun& run) {
  if (run.state != State::kExited) return nullptr;
  for (const RestartRule& rule : run.rules) {
    const bool among = std::ranges::find(rule.codes, run.exit_code) != rule.codes.end();
    if (among == rule.listed) return &rule;
  }
  return nullptr;
}

bool whole_pod_restarts(const std::vector<ContainerRun>& runs) {
  return std::ranges::any_of(runs, [](const ContainerRun& run) {
    const RestartRule* rule = matching_rule(run);
    return rule != nullptr && rule->whole_pod;
  });
}

std::vector<ContainerRun> make_runs(const Json& pod) {
  std::string pod_policy(str(at(pod, "spec"), "restartPolicy"));
  if (pod_policy.empty()) pod_policy = "Always";
  std::vector<ContainerRun> runs;
  for (const ContainerEntry& entry : containers_of(pod)) {
    ContainerRun run;
    run.name = str(*entry.spec, "name");
    run.kind = entry.kind;
    run.sidecar = entry.sidecar;
    const std::string own(str(*entry.spec, "restartPolicy"));
    run.policy = entry.kind == ContainerKind::kEphemeral ? "Never" : own.empty() ? pod_policy : own;
    // An init container that did its work is not run again, whatever the pod's policy.
    if (entry.kind == ContainerKind::kInit && !entry.sidecar && run.policy == "Always") run.policy = "OnFailure";
    run.rules = rules_of(*entry.spec);
    run.image_name = str(*entry.spec, "image");
    runs.push_back(std::move(run));
  }
  return runs;
}

Decision decide(const std::vector<ContainerRun>& runs, bool initialized) {
  Decision out;
  if (!initialized) {
    out.initialized = decide_init(runs, out);
    if (!out.initialized && !out.complete) return out;
  } else {
    out.initialized = true;
    for (std::size_t i = 0; i < runs.size(); ++i) {
      if (runs[i].sidecar && runs[i].state != State::kRunning) out.start.push_back(i);
    }
  }
  bool work_left = false;
  if (out.initialized) {
    for (std::size_t i = 0; i < runs.size(); ++i) {
      if (runs[i].kind == ContainerKind::kInit) continue;
      const bool start = runs[i].state == State::kWaiting || restarts(runs[i]);
      if (start) out.start.push_back(i);
      if (runs[i].kind == ContainerKind::kApp && (start || runs[i].state == State::kRunning)) work_left = true;
    }
  }
  if (work_left) return out;
  out.complete = true;
  out.start.clear();
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (runs[i].state == State::kRunning) out.stop.push_back(i);
  }
  return out;
}

std::string pod_phase(const std::vector<ContainerRun>& runs, bool initialized, bool stopped) {
  bool any_started = false;
  bool failed = false;
  bool all_done = true;
  bool waiting = false;
  for (const ContainerRun& run : runs) {
    if (run.kind == ContainerKind::kEphemeral || run.sidecar) continue;
    if (run.kind == ContainerKind::kInit) {
      if (run.failed()) failed = true;
      continue;
    }
    if (run.attempt >= 0 && run.state != State::kWaiting) any_started = true;
    if (run.state == State::kWaiting && run.attempt < 0) waiting = true;
    if (run.state != State::kExited || restarts(run)) all_done = false;
    if (!run.succeeded()) failed = failed || stopped || run.failed();
  }
  if (stopped) return failed ? "Failed" : "Succeeded";
  if (!initialized) {
    const bool dead = std::any_of(runs.begin(), runs.end(), [](const ContainerRun& run) {
      return run.kind == ContainerKind::kInit && !run.sidecar && run.failed() && !restarts(run);
    });
    return dead ? "Failed" : "Pending";
  }
  if (all_done) return failed ? "Failed" : "Succeeded";
  if (waiting || !any_started) return "Pending";
  return "Running";
}

std::chrono::milliseconds restart_wait(const ContainerRun& run, WallTime now) {
  if (run.state != ContainerRun::State::kExited || run.redefined || run.back_off.count() == 0) return {};
  const auto wait = run.finished_at + run.back_off - now;
  const auto limited = std::clamp<WallTime::duration>(wait, WallTime::duration::zero(), run.back_off);
  return std::chrono::ceil<std::chrono::milliseconds>(limited);
}

void note_restart(ContainerRun& run, WallTime now) {
  const bool forgotten = run.back_off.count() == 0 || run.finished_at - run.back_off_set > 2 * kMaxBackOff;
  run.back_off = forgotten ? kInitialBackOff : std::min(run.back_off * 2, kMaxBackOff);
  run.back_off_set = now;
  run.back_off_told = false;
}

}  // namespace brume::node
