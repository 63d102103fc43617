// Connection tracking entries by netlink (nfnetlink's ctnetlink): finding and deleting those that have become wrong.
#pragma once

#include <cstdint>
#include <functional>

#include "brume/base/result.h"
#include "brume/linux/address.h"
#include "brume/linux/netlink.h"

namespace brume::netlink {

/// What an entry says of a connection: as the first packet came, and where answers come from.
struct Flow {
  std::uint8_t protocol = 0;  ///< IPPROTO_*
  net::IpAddress source;
  net::IpAddress destination;  ///< before translation
  std::uint16_t destination_port = 0;
  net::IpAddress reply_source;  ///< after translation: who serves it
  std::uint16_t reply_source_port = 0;
};

/// Deletes the entries of `family` (AF_INET, AF_INET6) that `matches` picks, and says how many. Reads the whole table.
Result<std::size_t> delete_flows(Socket& socket, int family, const std::function<bool(const Flow&)>& matches);

}  // namespace brume::netlink
