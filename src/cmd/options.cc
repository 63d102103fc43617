#include "cmd/options.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <set>
#include <sstream>

#include "brume/api/decode.h"
#include "brume/base/go_duration.h"
#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "brume/linux/address.h"

namespace brume::cmd {

namespace {

/// One option: how it is named, what it takes, and how its value is checked and kept.
struct Flag {
  std::string_view name;
  char letter;  ///< 0: none
  enum class Kind { kValue, kList, kSwitch } kind;
  std::string_view value_name;
  std::string_view help;
  std::function<Status(ServerOptions&, const std::string&)> set;
};

std::unexpected<Error> bad(std::string_view flag, const std::string& value, std::string_view wanted) {
  return fail(Code::kInvalid, "--" + std::string(flag) + ": \"" + value + "\" is not " + std::string(wanted));
}

Status set_port(std::string_view flag, const std::string& value, std::uint16_t& out) {
  const auto number = parse_int(value);
  if (!number || *number < 1 || *number > 65535) return bad(flag, value, "a port (1 to 65535)");
  out = static_cast<std::uint16_t>(*number);
  return {};
}

Status set_address(std::string_view flag, const std::string& value, std::string& out) {
  if (!net::IpAddress::parse(value)) return bad(flag, value, "an IP address");
  out = value;
  return {};
}

Status set_cidr(std::string_view flag, const std::string& value, int longest, std::string& out) {
  const auto network = net::Cidr::parse(value);
  if (!network || !network->address.is_v4()) return bad(flag, value, "an IPv4 CIDR such as 10.42.0.0/16");
  if (network->str() != value) return bad(flag, value, "a network address; did you mean " + network->str() + "?");
  if (network->prefix < 8 || network->prefix > longest) {
    return bad(flag, value, "a network between /8 and /" + std::to_string(longest));
  }
  out = value;
  return {};
}

Status set_port_range(const std::string& value, ServerOptions& options) {
  constexpr std::string_view kFlag = "service-node-port-range";
  const auto dash = value.find('-');
  if (dash == std::string::npos) return bad(kFlag, value, "a range such as 30000-32767");
  BRUME_CHECK(set_port(kFlag, value.substr(0, dash), options.node_port_first));
  BRUME_CHECK(set_port(kFlag, value.substr(dash + 1), options.node_port_last));
  if (options.node_port_first > options.node_port_last) return bad(kFlag, value, "a range that goes up");
  return {};
}

Status set_mode(const std::string& value, unsigned& out) {
  std::size_t used = 0;
  unsigned long mode = 0;
  if (!value.empty() && std::ranges::all_of(value, [](char c) { return c >= '0' && c <= '7'; })) {
    mode = std::stoul(value, &used, 8);
  }
  if (used == 0 || mode > 0777) return bad("write-kubeconfig-mode", value, "an octal file mode such as 644");
  out = static_cast<unsigned>(mode);
  return {};
}

// RFC 1123 names, as Kubernetes asks of node names and of the cluster's domain.
bool is_dns_name(std::string_view name) {
  if (name.empty() || name.size() > 253) return false;
  return std::ranges::all_of(split(name, '.'), [](std::string_view label) {
    const auto alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
    return !label.empty() && label.size() <= 63 && alphanumeric(label.front()) && alphanumeric(label.back()) &&
           std::ranges::all_of(label, [&](char c) { return alphanumeric(c) || c == '-'; });
  });
}

Status set_name(std::string_view flag, const std::string& value, std::string& out) {
  if (!is_dns_name(value)) return bad(flag, value, "a DNS name (lower-case letters, digits, '-' and '.')");
  out = value;
  return {};
}

Status set_addons(const std::string& value, ServerOptions& options) {
  for (const auto name : split(value, ',')) {
    if (trim(name) != "dns" && trim(name) != "local-storage") {
      return bad("disable", std::string(name), "an add-on; there are: dns, local-storage");
    }
    options.disable.emplace_back(trim(name));
  }
  return {};
}

// What a network or IPC namespace has of its own, by the beginning of its name.
constexpr auto kPodSysctls =
    std::to_array<std::string_view>({"net.", "kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue."});

Status set_sysctls(const std::string& value, ServerOptions& options) {
  for (const auto item : split(value, ',')) {
    const auto name = trim(item);
    const auto begins = [&](std::string_view prefix) { return name.starts_with(prefix); };
    if (!std::ranges::any_of(kPodSysctls, begins))
      return bad("allowed-unsafe-sysctls", std::string(name),
                 "a sysctl of a pod's own, such as net.core.somaxconn, or a pattern such as kernel.msg*");
    options.allowed_unsafe_sysctls.emplace_back(name);
  }
  return {};
}

Status set_pids(const std::string& value, ServerOptions& options) {
  constexpr std::int64_t kMost = 1 << 22;  // PID_MAX_LIMIT of the kernel
  const auto number = parse_int(value);
  if (!number || *number < 0 || *number > kMost)
    return bad("pod-max-pids", value, "a number of processes, or 0 for no limit");
  options.pod_max_pids = *number;
  return {};
}

Status set_period(std::string_view flag, const std::string& value, std::chrono::milliseconds& out) {
  const auto period = parse_go_duration(value);
  if (!period || *period < std::chrono::milliseconds(100)) return bad(flag, value, "a duration such as 15s");
  out = std::chrono::floor<std::chrono::milliseconds>(*period);
  return {};
}

Status set_thresholds(const std::string& value, ServerOptions& options) {
  auto parsed = node::parse_eviction_thresholds(value);
  if (!parsed) return fail(wrap(std::move(parsed).error(), "--eviction-hard"));
  options.eviction_hard = *std::move(parsed);
  return {};
}

Status set_path(std::string_view flag, const std::string& value, std::string& out) {
  if (!value.starts_with('/')) return bad(flag, value, "an absolute path");
  out = value;
  while (out.size() > 1 && out.ends_with('/')) out.pop_back();
  return {};
}

Status set_switch(std::string_view flag, const std::string& value, bool& out) {
  if (value != "true" && value != "false") return bad(flag, value, "true or false");
  out = value == "true";
  return {};
}

using Kind = Flag::Kind;
using S = ServerOptions;
using V = std::string;

const std::vector<Flag>& flags() {
  static const std::vector<Flag> kFlags{
      {"data-dir", 'd', Kind::kValue, "DIR", "where state, certificates and images live (/var/lib/brume)",
       [](S& o, const V& v) { return set_path("data-dir", v, o.data_dir); }},
      {"config", 'c', Kind::kValue, "FILE",
       "YAML with these same names as keys (/etc/brume/config.yaml, if it is there)",
       [](S& o, const V& v) { return set_path("config", v, o.config); }},
      {"bind-address", 0, Kind::kValue, "IP", "address the API server listens on (0.0.0.0)",
       [](S& o, const V& v) { return set_address("bind-address", v, o.bind_address); }},
      {"https-listen-port", 0, Kind::kValue, "PORT", "port of the API server (6443)",
       [](S& o, const V& v) { return set_port("https-listen-port", v, o.https_listen_port); }},
      {"advertise-address", 0, Kind::kValue, "IP", "address that pods and nodes reach the API server by (the node's)",
       [](S& o, const V& v) { return set_address("advertise-address", v, o.advertise_address); }},
      {"node-name", 0, Kind::kValue, "NAME", "this node's name (the host's)",
       [](S& o, const V& v) { return set_name("node-name", v, o.node_name); }},
      {"node-ip", 0, Kind::kValue, "IP", "this node's address (that of the default route)",
       [](S& o, const V& v) { return set_address("node-ip", v, o.node_ip); }},
      {"tls-san", 0, Kind::kList, "NAME",
       "more names or addresses for the API server's certificate; may be given often",
       [](S& o, const V& v) {
         for (const auto name : split(v, ',')) o.tls_san.emplace_back(trim(name));
         return Status();
       }},
      {"write-kubeconfig", 'o', Kind::kValue, "FILE", "where the admin kubeconfig is written (/etc/brume/brume.yaml)",
       [](S& o, const V& v) { return set_path("write-kubeconfig", v, o.write_kubeconfig); }},
      {"write-kubeconfig-mode", 0, Kind::kValue, "MODE", "its file mode (600)",
       [](S& o, const V& v) { return set_mode(v, o.write_kubeconfig_mode); }},
      {"cluster-cidr", 0, Kind::kValue, "CIDR", "pod addresses (10.42.0.0/16)",
       [](S& o, const V& v) { return set_cidr("cluster-cidr", v, 24, o.cluster_cidr); }},
      {"service-cidr", 0, Kind::kValue, "CIDR", "service addresses (10.43.0.0/16); the tenth is the DNS service's",
       [](S& o, const V& v) { return set_cidr("service-cidr", v, 27, o.service_cidr); }},
      {"service-node-port-range", 0, Kind::kValue, "A-B", "ports for NodePort services (30000-32767)",
       [](S& o, const V& v) { return set_port_range(v, o); }},
      {"cluster-domain", 0, Kind::kValue, "NAME", "the cluster's DNS domain (cluster.local)",
       [](S& o, const V& v) { return set_name("cluster-domain", v, o.cluster_domain); }},
      {"disable", 0, Kind::kList, "ADDON", "an add-on not to deploy: dns, local-storage",
       [](S& o, const V& v) { return set_addons(v, o); }},
      {"token", 't', Kind::kValue, "SECRET", "a bearer token whose holder may ask for a node certificate (none)",
       [](S& o, const V& v) {
         if (v.size() < 16) return Status(fail(Code::kInvalid, "--token: at least 16 characters"));
         o.token = v;
         return Status();
       }},
      {"log-level", 0, Kind::kValue, "LEVEL", "debug, info, warn or error (info)",
       [](S& o, const V& v) {
         const auto level = log::level_from(v);
         if (!level) return Status(bad("log-level", v, "one of debug, info, warn, error"));
         o.log_level = *level;
         return Status();
       }},
      {"log-format", 0, Kind::kValue, "FORMAT", "text or json (text)",
       [](S& o, const V& v) {
         if (v != "text" && v != "json") return Status(bad("log-format", v, "one of text, json"));
         o.log_format = v == "json" ? log::Format::kJson : log::Format::kText;
         return Status();
       }},
      {"scheduler-config", 0, Kind::kValue, "FILE",
       "profiles of the scheduler, as a KubeSchedulerConfiguration (default-scheduler, which spreads, and bin-packing)",
       [](S& o, const V& v) { return set_path("scheduler-config", v, o.scheduler_config); }},
      {"private-registry", 0, Kind::kValue, "FILE",
       "mirrors and credentials of registries, as k3s has them (/etc/brume/registries.yaml, if it is there)",
       [](S& o, const V& v) { return set_path("private-registry", v, o.private_registry); }},
      {"datastore", 0, Kind::kValue, "KIND", "sqlite, or memory: nothing outlives the process (sqlite)",
       [](S& o, const V& v) {
         if (v != "sqlite" && v != "memory") return Status(bad("datastore", v, "one of sqlite, memory"));
         o.datastore = v;
         return Status();
       }},
      {"state-dir", 0, Kind::kValue, "DIR", "run-time state of pods, on a tmpfs (/run/brume)",
       [](S& o, const V& v) { return set_path("state-dir", v, o.state_dir); }},
      {"log-dir", 0, Kind::kValue, "DIR", "container logs (/var/log/pods)",
       [](S& o, const V& v) { return set_path("log-dir", v, o.log_dir); }},
      {"allowed-unsafe-sysctls", 0, Kind::kList, "NAME",
       "sysctls that pods may set beside the safe ones; NAME* is a prefix",
       [](S& o, const V& v) { return set_sysctls(v, o); }},
      {"pod-max-pids", 0, Kind::kValue, "N", "processes and threads that one pod may have (0: no limit)",
       [](S& o, const V& v) { return set_pids(v, o); }},
      {"eviction-hard", 0, Kind::kValue, "SIGNAL<AMOUNT,...",
       "when pods are refused and evicted; empty for never "
       "(memory.available<100Mi,nodefs.available<5%,nodefs.inodesFree<5%,pid.available<5%)",
       [](S& o, const V& v) { return set_thresholds(v, o); }},
      {"horizontal-pod-autoscaler-sync-period", 0, Kind::kValue, "TIME",
       "how often autoscalers look at what their pods use (15s)",
       [](S& o, const V& v) {
         return set_period("horizontal-pod-autoscaler-sync-period", v, o.horizontal_pod_autoscaler_sync_period);
       }},
      {"stop-pods", 0, Kind::kSwitch, "",
       "end all pods when the server stops; else they go on and the next start adopts them",
       [](S& o, const V& v) { return set_switch("stop-pods", v, o.stop_pods); }},
      {"disable-agent", 0, Kind::kSwitch, "",
       "run the control plane alone: no node, no pods and no service rules on this machine",
       [](S& o, const V& v) { return set_switch("disable-agent", v, o.disable_agent); }},
  };
  return kFlags;
}

const Flag* find_flag(std::string_view name) {
  const auto it = std::ranges::find_if(flags(), [&](const Flag& f) { return f.name == name; });
  return it == flags().end() ? nullptr : &*it;
}

const Flag* find_letter(char letter) {
  const auto it = std::ranges::find_if(flags(), [&](const Flag& f) { return f.letter != 0 && f.letter == letter; });
  return it == flags().end() ? nullptr : &*it;
}

struct Given {
  const Flag* flag;
  std::string value;
};

Result<std::vector<Given>> scan(const std::vector<std::string>& arguments) {
  std::vector<Given> given;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const Flag* flag = nullptr;
    std::optional<std::string> value;
    if (argument.starts_with("--")) {
      const auto equals = argument.find('=');
      flag = find_flag(std::string_view(argument).substr(2, equals == std::string::npos ? equals : equals - 2));
      if (equals != std::string::npos) value = argument.substr(equals + 1);
    } else if (argument.size() == 2 && argument[0] == '-') {
      flag = find_letter(argument[1]);
    } else {
      return fail(Code::kInvalid, "unexpected argument \"" + argument + "\"; see brume server --help");
    }
    if (flag == nullptr) return fail(Code::kInvalid, "unknown flag " + argument + "; see brume server --help");
    if (!value && flag->kind == Kind::kSwitch) value = "true";
    if (!value) {
      if (i + 1 == arguments.size()) {
        return fail(Code::kInvalid,
                    "--" + std::string(flag->name) + " takes a value: " + std::string(flag->value_name));
      }
      value = arguments[++i];
    }
    given.push_back({flag, std::move(*value)});
  }
  return given;
}

std::string text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  return dump_json(value);
}

// Applies the config file; `seen` are flags from the command line, which win.
Status apply_file(const std::string& path, bool must_exist, const std::set<std::string_view>& seen,
                  ServerOptions& options) {
  std::ifstream file(path);
  if (!file) {
    if (!must_exist && ::access(path.c_str(), F_OK) != 0) return {};
    return fail_errno(errno, "--config: " + path);
  }
  std::stringstream text;
  text << file.rdbuf();
  auto decoded = api::decode(text.str(), api::MediaType::kYaml);
  if (!decoded) return fail(wrap(decoded.error(), path));
  const Json& values = decoded->value;
  if (values.is_null()) return {};
  if (!values.is_object()) return fail(Code::kInvalid, path + ": not a mapping of option names to values");
  for (const auto& [name, value] : values.items()) {
    const Flag* flag = find_flag(name);
    if (flag == nullptr || name == "config") return fail(Code::kInvalid, path + ": unknown option \"" + name + "\"");
    if (seen.contains(flag->name)) continue;
    if (value.is_array() && flag->kind != Kind::kList)
      return fail(Code::kInvalid, path + ": " + name + " takes one value");
    const Json list = value.is_array() ? value : Json::array({value});
    for (const auto& one : list) {
      if (auto set = flag->set(options, text_of(one)); !set) return fail(wrap(set.error(), path));
    }
  }
  return {};
}

Status fill_defaults(ServerOptions& options) {
  if (options.node_name.empty()) {
    char name[256] = {};
    ::gethostname(name, sizeof name - 1);
    const std::string host = to_lower(name);
    if (!is_dns_name(host)) {
      return fail(Code::kInvalid, "the host's name \"" + host + "\" cannot name a node; give --node-name");
    }
    options.node_name = host;
  }
  const auto pods = net::Cidr::parse(options.cluster_cidr);
  const auto services = net::Cidr::parse(options.service_cidr);
  if (pods && services && (pods->contains(services->address) || services->contains(pods->address))) {
    return fail(Code::kInvalid,
                "--cluster-cidr " + options.cluster_cidr + " and --service-cidr " + options.service_cidr + " overlap");
  }
  return {};
}

}  // namespace

bool ServerOptions::disabled(std::string_view addon) const {
  return std::ranges::find(disable, addon) != disable.end();
}

namespace {

// Without symlinks: what is mounted below a directory is known by such paths alone, and must be found before the
// directory is removed.
Result<std::string> resolved(const std::string& dir) {
  std::error_code error;
  auto path = std::filesystem::weakly_canonical(dir, error);
  if (error) return fail_errno(error.value(), "resolve " + dir);
  return path.string();
}

}  // namespace

Result<ServerOptions> parse_server_options(const std::vector<std::string>& arguments) {
  ServerOptions options;
  BRUME_TRY(const auto given, scan(arguments));
  std::set<std::string_view> seen;
  for (const auto& [flag, value] : given) {
    seen.insert(flag->name);
    BRUME_CHECK(flag->set(options, value));
  }
  BRUME_CHECK(apply_file(options.config, seen.contains("config"), seen, options));
  BRUME_CHECK(fill_defaults(options));
  options.data_path = options.data_dir;
  for (std::string* dir : {&options.data_dir, &options.state_dir, &options.log_dir}) {
    BRUME_TRY(*dir, resolved(*dir));
  }
  return options;
}

std::string server_help() {
  std::string text =
      "brume server [flags]: runs the whole of Kubernetes on this machine, as root.\n\n"
      "Every flag may stand in the config file by the same name; a flag wins over the file.\n\n";
  for (const auto& flag : flags()) {
    std::string left = "  --" + std::string(flag.name);
    if (flag.letter != 0) left += std::string(", -") + flag.letter;
    if (!flag.value_name.empty()) left += " " + std::string(flag.value_name);
    left.resize(std::max<std::size_t>(left.size() + 1, 36), ' ');
    text += left + std::string(flag.help) + "\n";
  }
  return text;
}

std::string nth_address(const std::string& cidr, std::uint32_t n) {
  const auto network = net::Cidr::parse(cidr);
  return network ? network->address.plus(n).str() : std::string();
}

}  // namespace brume::cmd
