// ClusterZone: the names of Services, endpoints and pods, as the Kubernetes DNS specification (1.1.0) has them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "api_views.h"
#include "dns_message.h"

namespace brume::network::dns {

/// What the API says, kept so that a question is a few look-ups. Owner: one loop.
class ClusterZone {
 public:
  /// `domain`, e.g. cluster.local, must be a name; `serial` is the zone's first serial number.
  ClusterZone(std::string_view domain, std::uint32_t serial);

  void set_service(ServiceView service);
  void remove_service(const std::string& key);
  void set_slice(const std::string& key, SliceView slice);
  void remove_slice(const std::string& key);
  void set_namespace(const std::string& name) { namespaces_.insert(name), ++serial_; }
  void remove_namespace(const std::string& name) { namespaces_.erase(name), ++serial_; }

  /// The answer, or nullopt for a name that is none of the cluster's: forward it. A CNAME to a name outside the zone
  /// comes without what it leads to.
  [[nodiscard]] std::optional<Answer> resolve(const Query& query) const;

  /// Whether this is some Service's address: asking there could come back to us.
  [[nodiscard]] bool has_cluster_ip(const net::IpAddress& address) const { return services_by_ip_.contains(address); }

 private:
  using Labels = std::vector<std::string_view>;
  struct Target {
    std::string name;  ///< of the endpoint: its host name, or its address with dashes
    net::IpAddress address;
    const std::vector<PortView>* ports;
  };

  Answer resolve_in_zone(const Query& query, const Labels& labels) const;
  Answer resolve_service(const Query& query, const std::string& key, std::string_view endpoint,
                         const PortView* wanted) const;
  Answer resolve_pod(const Query& query, std::string_view ns, std::string_view dashed) const;
  std::optional<Answer> resolve_reverse(const Query& query, const Name& lower) const;
  Answer address_answer(const Query& query, const std::vector<net::IpAddress>& addresses) const;
  Answer srv_answer(const Query& query, const ServiceView& service, const std::vector<Target>& targets,
                    const PortView* wanted) const;
  Answer apex(const Query& query) const;
  Answer no_data() const;
  Answer no_such_name() const;
  Record soa() const;
  std::vector<Target> targets_of(const std::string& key, std::string_view endpoint) const;
  [[nodiscard]] Name below(std::string_view text) const;

  std::string domain_;
  Name zone_;
  std::uint32_t serial_;
  std::map<std::string, ServiceView> services_;  ///< by ns/name
  std::map<std::string, SliceView> slices_;      ///< by ns/name of the slice
  std::map<std::string, std::set<std::string>> slices_of_service_;
  std::map<net::IpAddress, std::set<std::string>> services_by_ip_;
  std::map<net::IpAddress, std::set<std::string>> slices_by_ip_;
  std::set<std::string> namespaces_;
};

}  // namespace brume::network::dns
