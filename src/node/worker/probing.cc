// Liveness, readiness and startup probes of running containers.
#include <algorithm>

#include "pod/pod.h"
#include "worker/pod_worker.h"

namespace brume::node {

namespace {

using State = ContainerRun::State;

/// No probe comes earlier after a container's start: a server needs a moment until it listens, and a first probe that
/// finds it too early costs a whole period.
constexpr auto kSettle = std::chrono::milliseconds(50);

std::chrono::seconds seconds_of(const Json& probe, std::string_view key, std::int64_t fallback) {
  return std::chrono::seconds(num(probe, key, fallback));
}

std::string kind_text(const std::string& kind) {
  return kind == "livenessProbe" ? "Liveness" : kind == "readinessProbe" ? "Readiness" : "Startup";
}

}  // namespace

void PodWorker::begin_probes(std::size_t index) {
  ContainerRun& run = runs_[index];
  if (run.probes || run.stop != ContainerRun::Stop::kNone) return;
  const Json& spec = spec_of(run);
  run.probes = std::make_shared<ProbeRun>();
  const bool has_startup = at(spec, "startupProbe").is_object();
  const bool has_readiness = at(spec, "readinessProbe").is_object();
  // A container taken over from an earlier process keeps the verdicts it had.
  if (!has_startup) run.started = true;
  if (!has_readiness) run.ready = run.started;
  if (has_startup && !run.started) {
    group_.spawn("probe", probe_loop(index, run.id, "startupProbe", at(spec, "startupProbe"), run.probes));
  } else {
    begin_lasting_probes(index);
  }
  wake();
}

// Those that wait for the startup probe's success, and so begin at that moment.
void PodWorker::begin_lasting_probes(std::size_t index) {
  const ContainerRun& run = runs_[index];
  const Json& spec = spec_of(run);
  for (const char* kind : {"livenessProbe", "readinessProbe"}) {
    if (at(spec, kind).is_object()) group_.spawn("probe", probe_loop(index, run.id, kind, at(spec, kind), run.probes));
  }
}

Task<void> PodWorker::probe_loop(std::size_t index, std::string id, std::string kind, Json probe,
                                 std::shared_ptr<ProbeRun> run) {
  const auto period = std::max(seconds_of(probe, "periodSeconds", 10), std::chrono::seconds(1));
  const auto timeout = std::max(seconds_of(probe, "timeoutSeconds", 1), std::chrono::seconds(1));
  const auto delay = seconds_of(probe, "initialDelaySeconds", 0);
  const bool startup = kind == "startupProbe";
  const auto wait = runs_[index].started_at + std::max<WallTime::duration>(delay, kSettle) - context_.clock.now();
  if (wait > WallTime::duration::zero())
    co_await context_.clock.sleep(std::chrono::duration_cast<Steady::duration>(wait));
  std::int64_t in_a_row = 0;
  std::optional<bool> last;
  while (!run->stopped && runs_[index].id == id) {
    if (startup && runs_[index].started) co_return;
    const Json container = spec_of(runs_[index]);
    HandlerRequest request{uid_, id, probe, container, pod_ips_.empty() ? "" : pod_ips_.front(), timeout, true};
    const HandlerResult result = co_await context_.handlers.run(std::move(request));
    if (run->stopped || runs_[index].id != id || runs_[index].state != State::kRunning) co_return;
    if (result.warning)
      event(true, "ProbeWarning", kind_text(kind) + " probe warning: " + result.output, runs_[index].name);
    if (!result.ok) event(true, "Unhealthy", kind_text(kind) + " probe failed: " + result.output, runs_[index].name);
    in_a_row = last == result.ok ? in_a_row + 1 : 1;
    last = result.ok;
    const auto needed = num(probe, result.ok ? "successThreshold" : "failureThreshold", result.ok ? 1 : 3);
    if (in_a_row >= needed) probe_verdict(index, kind, probe, result.ok);
    if (run->stopped) co_return;
    co_await context_.clock.sleep(period);
  }
}

void PodWorker::probe_verdict(std::size_t index, const std::string& kind, const Json& probe, bool ok) {
  ContainerRun& run = runs_[index];
  if (kind == "readinessProbe") {
    if (run.ready == ok) return;
    run.ready = ok;
    wake();
    return;
  }
  if (ok) {
    if (kind != "startupProbe" || run.started) return;
    run.started = true;
    if (!at(spec_of(run), "readinessProbe").is_object()) run.ready = true;
    begin_lasting_probes(index);
    wake();
    return;
  }
  const Json& own_grace = at(probe, "terminationGracePeriodSeconds");
  const auto grace = own_grace.is_number() ? std::chrono::seconds(own_grace.get<std::int64_t>()) : grace_period();
  const char* what = kind == "livenessProbe" ? "liveness" : "startup";
  std::string message = "Container " + run.name + " failed " + what + " probe";
  if (run.policy != "Never" || run.sidecar) message += ", will be restarted";
  begin_stop(run, grace, message);
  run.ready = false;
  wake();
}

}  // namespace brume::node
