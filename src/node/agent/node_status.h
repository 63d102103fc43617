// The Node object and its status as JSON.
#pragma once

#include <string>
#include <vector>

#include "agent/machine.h"
#include "brume/base/json.h"
#include "brume/base/time.h"
#include "brume/node/agent.h"

namespace brume::node {

/// metadata and spec of the Node, as it is registered.
[[nodiscard]] Json make_node(const NodeOptions& options, const Machine& machine);

struct NodeStatusInputs {
  const NodeOptions& options;
  const Machine& machine;
  const Pressure& pressure;
  const std::vector<runtime::Limitation>& limitations;
  std::vector<std::shared_ptr<const runtime::Image>> images;
  const Json& old;  ///< the status in the API: transition times and what others advertise are kept from it
  std::uint16_t port = 0;
  WallTime now;
};
/// NodeStatus with every field that the node owns; heartbeat times are `now`.
[[nodiscard]] Json make_node_status(const NodeStatusInputs& in);
/// Whether they differ in more than heartbeat times.
[[nodiscard]] bool node_status_differs(const Json& a, const Json& b);

}  // namespace brume::node
