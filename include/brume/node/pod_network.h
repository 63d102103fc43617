// PodNetwork: what the node agent asks of the network when a pod starts and ends. `cmd` wires the network module in.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"

namespace brume::node {

struct HostPort {
  std::uint16_t host_port = 0;
  std::uint16_t container_port = 0;
  std::string protocol;  ///< TCP, UDP, SCTP
  std::string host_ip;   ///< empty: all
};

struct PodAttachment {
  std::string uid;
  std::string ns;
  std::string name;
  std::string netns_path;
  std::vector<HostPort> host_ports;
};

/// Owner: the node loop. Calls are idempotent; the same uid keeps its addresses across restarts of brume.
class PodNetwork {
 public:
  virtual ~PodNetwork() = default;
  /// Gives the pod its interface and addresses (the first is podIP) and opens its host ports.
  virtual Task<Result<std::vector<std::string>>> attach(PodAttachment attachment) = 0;
  virtual Task<Status> detach(std::string uid) = 0;
  /// Pods that hold an address, those of earlier processes among them.
  virtual Task<std::set<std::string>> attached_pods() = 0;
};

}  // namespace brume::node
