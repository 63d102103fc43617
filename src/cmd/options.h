// The server's options: flags and config file, by the same names.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "brume/base/log.h"
#include "brume/base/result.h"
#include "brume/node/eviction_thresholds.h"

namespace brume::cmd {

/// What `brume server` was told, checked and with defaults filled in. Flag names are k3s' where k3s has them.
struct ServerOptions {
  std::string data_dir = "/var/lib/brume";  ///< without symlinks
  std::string data_path;                    ///< the same as it was given
  std::string config = "/etc/brume/config.yaml";
  std::string bind_address = "0.0.0.0";
  std::uint16_t https_listen_port = 6443;
  std::string advertise_address;  ///< empty: node_ip
  std::string node_name;          ///< empty: the host's name
  std::string node_ip;            ///< empty: the source address of the default route, else the first global one
  std::vector<std::string> tls_san;
  std::string write_kubeconfig = "/etc/brume/brume.yaml";
  unsigned write_kubeconfig_mode = 0600;
  std::string cluster_cidr = "10.42.0.0/16";
  std::string service_cidr = "10.43.0.0/16";
  std::uint16_t node_port_first = 30000;
  std::uint16_t node_port_last = 32767;
  std::string cluster_domain = "cluster.local";
  std::vector<std::string> disable;  ///< add-ons not to deploy: dns, local-storage
  std::string token;
  log::Level log_level = log::Level::kInfo;
  log::Format log_format = log::Format::kText;
  std::vector<std::string> allowed_unsafe_sysctls;  ///< that pods may set beside the safe ones
  std::vector<node::EvictionThreshold> eviction_hard = node::default_eviction_thresholds();
  std::int64_t pod_max_pids = 0;  ///< processes and threads of one pod; 0: no limit
  std::chrono::milliseconds horizontal_pod_autoscaler_sync_period{15'000};
  bool stop_pods = false;            ///< end pods when the server stops
  bool disable_agent = false;        ///< no node on this machine: the API, controllers and scheduler alone
  std::string scheduler_config;      ///< a KubeSchedulerConfiguration file; empty: the built-in profiles
  std::string private_registry;      ///< where images come from; empty: /etc/brume/registries.yaml, if it is there
  std::string datastore = "sqlite";  ///< or memory
  std::string state_dir = "/run/brume";
  std::string log_dir = "/var/log/pods";

  [[nodiscard]] bool disabled(std::string_view addon) const;
};

/// Reads flags and the config file they name. A flag wins over the file. Errors are one line: what is wrong with which
/// flag, and what it takes.
Result<ServerOptions> parse_server_options(const std::vector<std::string>& arguments);

/// The text of `brume server --help`.
std::string server_help();

/// The nth address of a CIDR (0 is the network's own), as text. The CIDR was checked before.
std::string nth_address(const std::string& cidr, std::uint32_t n);

}  // namespace brume::cmd
