// ServiceProxy: makes this node's nf_tables rules what Services and EndpointSlices say.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/linux/address.h"

namespace brume::client {
class InformerFactory;
}

namespace brume::network {

struct ServiceProxyOptions {
  std::string node_name;
  std::optional<net::Cidr> cluster_cidr;
  std::vector<net::Cidr> service_cidrs;
  /// Whether spec.externalIPs are served. Off: anybody who may create a Service could take over traffic to any address
  /// (CVE-2020-8554).
  bool allow_external_ips = false;
};

/// A level-triggered loop. It waits until both informers have synced, then replaces the table in one step (rules of an
/// earlier brume work until then), and from there on changes what changed. Rules stay when it stops: pods go on
/// working. Owner: the informers' loop; every call on it.
class ServiceProxy {
 public:
  /// kForbidden without CAP_NET_ADMIN. `informers` must live longer; start them as usual.
  static Result<std::unique_ptr<ServiceProxy>> create(ServiceProxyOptions options, client::InformerFactory& informers);
  virtual ~ServiceProxy() = default;

  virtual void start() = 0;
  virtual Task<void> stop() = 0;
  /// Whether the kernel has had the rules of everything that was there at start.
  [[nodiscard]] virtual bool synced() const = 0;

  /// Removes all rules. Nothing that is already gone is an error. Blocks for the kernel's work.
  static Status cleanup();
};

}  // namespace brume::network
