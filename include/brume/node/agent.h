// NodeAgent: makes this machine a Kubernetes node. It registers the Node, keeps its status and lease, drives each pod
// that is bound to it from spec to status, and serves logs, exec, attach and port-forward on the node's HTTPS endpoint.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "brume/base/clock.h"
#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/client/client.h"
#include "brume/node/eviction_thresholds.h"
#include "brume/node/pod_network.h"
#include "brume/runtime/images.h"
#include "brume/runtime/runtime.h"

namespace brume::node {

struct NodeOptions {
  std::string node_name;
  std::string hostname;                  ///< label, address and UTS name of host-network pods; empty: node_name
  std::vector<std::string> node_ips;     ///< InternalIP addresses, the first is status.hostIP
  std::string pod_cidr;                  ///< spec.podCIDR; empty: left to a controller
  std::vector<std::string> cluster_dns;  ///< usually the tenth service address
  std::string cluster_domain = "cluster.local";

  std::string data_dir = "/var/lib/brume";  ///< pods/<uid> and containers/<id> live here
  std::string log_dir = "/var/log/pods";
  /// Directories of persistent volumes of brume.dev/local-path.
  [[nodiscard]] std::string storage_dir() const { return data_dir + "/storage"; }
  /// What the API calls it, for volumes keep their paths for ever: by the link to data_dir, if there is one, which may
  /// lead to another disk some day. Empty: storage_dir().
  std::string storage_path;
  std::string seccomp_dir;                     ///< of Localhost profiles; empty: <data_dir>/seccomp
  std::string cgroup_root = "brume/kubepods";  ///< below the cgroup2 mount

  std::int64_t max_pods = 110;
  std::int64_t pod_pids_limit = 0;                  ///< pids.max of each pod; 0: none
  std::vector<std::string> allowed_unsafe_sysctls;  ///< names, or prefixes with "*"
  std::vector<EvictionThreshold> eviction_hard = default_eviction_thresholds();
  bool control_plane = true;                                ///< node-role.kubernetes.io/control-plane=true
  std::vector<std::pair<std::string, std::string>> labels;  ///< more labels of the Node
  std::string kubelet_version = "v1.36.0+brume";
  std::string runtime_version = "brume://0.1.0";

  bool stop_pods = false;  ///< stop() ends the pods; otherwise they stay and the next start adopts them

  bool serve = true;  ///< the HTTPS endpoint
  std::string listen_address = "0.0.0.0";
  std::uint16_t port = 10250;   ///< 0: any
  std::string certificate_pem;  ///< of the endpoint; chain
  std::string private_key_pem;
  std::string client_ca_pem;  ///< who may call: certificates of this CA ...
  /// ... with one of these common names, or in group system:masters.
  std::vector<std::string> allowed_clients = {"kube-apiserver", "system:kube-apiserver",
                                              "kube-apiserver-kubelet-client"};

  int image_gc_high_percent = 85;         ///< image collection starts when the images' file system is this full ...
  int image_gc_low_percent = 80;          ///< ... and goes on down to this
  std::int64_t log_max_bytes = 10 << 20;  ///< a container's log is rotated at this size
  int log_max_files = 5;
};

/// What the agent works with. All must outlive it.
struct NodeParts {
  client::Client& client;  ///< with the identity system:node:<name>
  runtime::Runtime& runtime;
  runtime::Images& images;
  PodNetwork& network;
  Clock& clock;
};

/// Owner: the node loop (`executor`); every call there.
class NodeAgent {
 public:
  static std::unique_ptr<NodeAgent> create(NodeOptions options, NodeParts parts, const Executor& executor);
  virtual ~NodeAgent() = default;
  /// Registers the node, adopts pods of an earlier process, starts watching and serving. Returns once the node has been
  /// registered and every adopted pod has its worker; errors name what stands in the way (a taken port, a refused
  /// identity).
  virtual Task<Status> start() = 0;
  /// Ends all work. Pods stay as they are unless stop_pods, in which case they end with their grace (30 s at most).
  virtual Task<void> stop() = 0;
  /// New connections of the HTTPS endpoint use these; what runs goes on.
  virtual Status set_serving_tls(std::string certificate_pem, std::string private_key_pem,
                                 std::string client_ca_pem) = 0;
  /// The node has other addresses: its status and its pods' say so. Pods on the host's network keep the podIP that they
  /// began with, as on Kubernetes.
  virtual void set_node_ips(std::vector<std::string> node_ips) = 0;
  /// The endpoint's port, 0 before start().
  [[nodiscard]] virtual std::uint16_t port() const = 0;
  /// Whether stop() shall end the pods, for a decision made late.
  virtual void set_stop_pods(bool stop_pods) = 0;
};

}  // namespace brume::node
