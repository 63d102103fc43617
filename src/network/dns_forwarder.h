// DnsForwarder: asks the node's name servers what the cluster does not know.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/linux/address.h"
#include "dns_cache.h"
#include "dns_message.h"

namespace brume::network::dns {

struct Upstream {
  net::IpAddress address;
  std::uint16_t port = 53;
  bool operator==(const Upstream&) const = default;
};

/// The name servers of a resolv.conf(5) text, three at most as there.
[[nodiscard]] std::vector<Upstream> read_resolv_conf(std::string_view text);
/// "192.0.2.53", "192.0.2.53:5353" or "2001:db8::53".
[[nodiscard]] std::optional<Upstream> parse_upstream(std::string_view text);
/// The addresses of this machine or container.
[[nodiscard]] std::vector<net::IpAddress> own_addresses();

/// Owner: one loop. Asks the servers in order, each by its own socket (a fresh source port and id a question, so that
/// answers are hard to forge), twice around at most.
class DnsForwarder {
 public:
  DnsForwarder(std::vector<Upstream> upstreams, Clock& clock) : upstreams_(std::move(upstreams)), clock_(clock) {}

  /// The response made out to `query`. kServiceUnavailable when there is nobody to ask, or too much is being asked;
  /// kTimeout when nobody answers. `skip` excludes servers that would ask us.
  Task<Result<std::string>> ask(Query query, bool tcp, std::function<bool(const net::IpAddress&)> skip);

 private:
  std::vector<Upstream> upstreams_;
  Clock& clock_;
  DnsCache cache_;
  std::size_t in_flight_ = 0;
};

}  // namespace brume::network::dns
