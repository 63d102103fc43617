// AddressPool: which pod has which address of the node's block, kept in one small file an address.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "brume/base/result.h"
#include "brume/linux/address.h"
#include "brume/network/pod_links.h"

namespace brume::network {

/// A pod's claim: its address and the host ports that lead to it.
struct Lease {
  net::IpAddress address;
  std::vector<PodHostPort> host_ports;
};

/// The first address of the block (all zeros), the second (the gateway) and the last (broadcast) are never given out. A
/// released address comes back last: what the network still remembers of its former owner fades meanwhile.
///
/// Each claim is a file <dir>/<address> of lines "uid <uid>" and "port <protocol> <host port> <pod port> <host ip or
/// *>". Files are put in place by rename(2); they are not synced, since a pod does not outlive a power cut either. Not
/// thread-safe.
class AddressPool {
 public:
  static Result<AddressPool> open(std::string dir, net::Cidr block);

  [[nodiscard]] const Lease* find(const std::string& uid) const;
  [[nodiscard]] const std::map<std::string, Lease>& leases() const { return leases_; }
  /// The uid's lease, made if there is none; its host ports are replaced.
  Result<Lease> claim(const std::string& uid, std::vector<PodHostPort> host_ports);
  Status release(const std::string& uid);
  [[nodiscard]] net::IpAddress gateway() const { return block_.address.plus(1); }
  [[nodiscard]] const net::Cidr& block() const { return block_; }

 private:
  AddressPool(std::string dir, net::Cidr block) : dir_(std::move(dir)), block_(block) {}
  Status write(const std::string& uid, const Lease& lease) const;
  void read(const std::string& file_name);
  [[nodiscard]] std::uint64_t usable() const;
  std::string dir_;
  net::Cidr block_;
  std::map<std::string, Lease> leases_;         ///< by uid
  std::map<net::IpAddress, std::string> used_;  ///< uid by address
  std::uint64_t next_ = 2;                      ///< offset in the block where the search starts
};

}  // namespace brume::network
