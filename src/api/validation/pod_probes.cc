// Probes and life-cycle hooks.
#include <array>

#include "api/validation/pod.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

void check_http(Errors& errors, const Path& path, const Json& http) {
  if (str(http, "path").empty()) errors.required(path / "path");
  check_port_or_name(errors, path / "port", at(http, "port"));
  check_enum(errors, path / "scheme", str(http, "scheme"), {"HTTP", "HTTPS"});
  for (const Json& header : items(at(http, "httpHeaders"))) {
    check_format(errors, path / "httpHeaders", str(header, "name"), http_header_name);
  }
}

void check_sleep(Errors& errors, const Path& path, const Json& sleep, const Json& grace) {
  if (!grace.is_number()) return;  // its own rule speaks
  const auto limit = grace.get<std::int64_t>();
  const auto seconds = num(sleep, "seconds");
  if (seconds < 0 || seconds > limit) {
    errors.invalid(path, seconds,
                   "must be non-negative and less than terminationGracePeriodSeconds (" + std::to_string(limit) + ")");
  }
}

void check_handler(Errors& errors, const Path& path, const Json& handler, const Json& grace) {
  bool found = false;
  for (const std::string_view key : {"exec", "httpGet", "tcpSocket", "grpc", "sleep"}) {
    const Json& action = at(handler, key);
    if (!action.is_object()) continue;
    const Path here = path / key;
    if (found) {
      errors.forbidden(here, "may not specify more than 1 handler type");
      continue;
    }
    found = true;
    if (key == "exec" && items(at(action, "command")).empty()) errors.required(here / "command");
    if (key == "httpGet") check_http(errors, here, action);
    if (key == "tcpSocket" || key == "grpc") check_port_or_name(errors, here / "port", at(action, "port"));
    if (key == "sleep") check_sleep(errors, here, action, grace);
  }
  if (!found) errors.required(path, "must specify a handler type");
}

// SIGRTMIN+1 to +15, SIGRTMAX-14 to -1.
bool is_real_time_signal(std::string_view name) {
  const auto within = [&](std::string_view prefix, std::int64_t most) {
    if (!name.starts_with(prefix)) return false;
    const auto number = parse_int(name.substr(prefix.size()));
    return number && *number >= 1 && *number <= most;
  };
  return within("SIGRTMIN+", 15) || within("SIGRTMAX-", 14);
}

constexpr std::array<std::string_view, 36> kSignals = {
    "SIGABRT",  "SIGALRM",  "SIGBUS",  "SIGCHLD",   "SIGCLD",  "SIGCONT",   "SIGFPE",   "SIGHUP",  "SIGILL",
    "SIGINT",   "SIGIO",    "SIGIOT",  "SIGKILL",   "SIGPIPE", "SIGPOLL",   "SIGPROF",  "SIGPWR",  "SIGQUIT",
    "SIGRTMAX", "SIGRTMIN", "SIGSEGV", "SIGSTKFLT", "SIGSTOP", "SIGSYS",    "SIGTERM",  "SIGTRAP", "SIGTSTP",
    "SIGTTIN",  "SIGTTOU",  "SIGURG",  "SIGUSR1",   "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ"};

void check_stop_signal(Errors& errors, const Path& path, std::string_view signal, const Json& pod_spec) {
  if (!at(pod_spec, "os").is_object()) {
    return errors.forbidden(path, "may not be set for containers with empty `spec.os.name`");
  }
  if (str(at(pod_spec, "os"), "name") == "windows") return check_enum(errors, path, signal, {"SIGKILL", "SIGTERM"});
  for (const auto known : kSignals) {
    if (signal == known) return;
  }
  if (!is_real_time_signal(signal)) errors.not_supported(path, signal, kSignals);
}

}  // namespace

void check_port_or_name(Errors& errors, const Path& path, const Json& port) {
  if (port.is_string()) return check_format(errors, path, str(port), port_name);
  const std::int64_t number = port.is_number() ? port.get<std::int64_t>() : 0;
  for (const auto& fault : port_number(number)) errors.invalid(path, number, fault);
}

void check_probe(Errors& errors, const Path& path, const Json& probe, std::string_view kind) {
  if (!probe.is_object()) return;
  check_handler(errors, path, probe, Json());
  for (const char* key :
       {"initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"}) {
    check_not_negative(errors, path / key, at(probe, key));
  }
  const Json& grace = at(probe, "terminationGracePeriodSeconds");
  if (grace.is_number() && grace.get<std::int64_t>() <= 0) {
    errors.invalid(path / "terminationGracePeriodSeconds", grace, "must be greater than 0");
  }
  if (kind == "readinessProbe") {
    if (!grace.is_null()) {
      errors.invalid(path / "terminationGracePeriodSeconds", grace, "must not be set for readinessProbes");
    }
  } else if (num(probe, "successThreshold") != 1) {
    errors.invalid(path / "successThreshold", num(probe, "successThreshold"), "must be 1");
  }
}

void check_lifecycle(Errors& errors, const Path& path, const Json& lifecycle, const Json& pod_spec) {
  const Json& grace = at(pod_spec, "terminationGracePeriodSeconds");
  for (const char* key : {"postStart", "preStop"}) {
    if (at(lifecycle, key).is_object()) check_handler(errors, path / key, at(lifecycle, key), grace);
  }
  if (has(lifecycle, "stopSignal")) {
    check_stop_signal(errors, path / "stopSignal", str(lifecycle, "stopSignal"), pod_spec);
  }
}

}  // namespace brume::api::validation
