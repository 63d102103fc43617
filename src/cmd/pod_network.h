// Wires the network module's links to what the node agent asks for.
#pragma once

#include "brume/network/pod_links.h"
#include "brume/node/pod_network.h"

namespace brume::cmd {

/// node::PodNetwork over network::PodLinks, which outlives it. Owner: the node loop.
class LinkedPodNetwork final : public node::PodNetwork {
 public:
  explicit LinkedPodNetwork(network::PodLinks& links) : links_(links) {}
  Task<Result<std::vector<std::string>>> attach(node::PodAttachment attachment) override;
  Task<Status> detach(std::string uid) override;
  Task<std::set<std::string>> attached_pods() override;

 private:
  network::PodLinks& links_;
};

}  // namespace brume::cmd
