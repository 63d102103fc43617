// Which address this node has, when nobody says.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <string>
#include <string_view>

#include "brume/base/result.h"
#include "brume/base/task.h"
#include "brume/linux/fd.h"

namespace brume::cmd {

struct NodeAddress {
  std::string address;  ///< IPv4; "" when there is none
  bool uplink = false;  ///< of a link that has a carrier and leads out: not of a bridge of another container engine
};

/// The address of the interface that the default route leaves by; without one the first global address of an interface
/// that is up and not brume's own, those that lead out first.
NodeAddress detect_node_address(std::string_view own_bridge);

/// The kernel's word that links, addresses or routes of this node's network namespace changed (rtnetlink(7), multicast
/// groups). Owner: one loop.
class AddressWatch {
 public:
  static Result<AddressWatch> open(const Executor& executor);
  /// Returns at the first change since the last call, and when changes may have been missed.
  Task<Status> changed();

 private:
  explicit AddressWatch(boost::asio::posix::stream_descriptor socket) : socket_(std::move(socket)) {}
  boost::asio::posix::stream_descriptor socket_;
};

}  // namespace brume::cmd
