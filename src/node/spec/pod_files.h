// Text of the files that the node manages in every container: /etc/resolv.conf, /etc/hosts, /etc/hostname.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "brume/base/json_fwd.h"
#include "brume/base/result.h"

namespace brume::node {

struct DnsSettings {
  std::vector<std::string> cluster_dns;  ///< addresses of the kube-dns Service
  std::string cluster_domain = "cluster.local";
  std::string host_resolv_conf;  ///< text of the node's resolv.conf
};

/// resolv.conf(5) text by dnsPolicy and dnsConfig, cut to 3 name servers and 32 search paths (the limits of
/// pkg/apis/core/validation).
[[nodiscard]] std::string make_resolv_conf(const Json& pod, const DnsSettings& dns);
/// hosts(5) text as the kubelet writes it.
[[nodiscard]] std::string make_hosts(const Json& pod, const std::vector<std::string>& pod_ips,
                                     std::string_view hostname, std::string_view domain,
                                     std::string_view host_hosts_file);

struct HostName {
  std::string hostname;  ///< what the UTS namespace and /etc/hostname get
  std::string short_name;
  std::string domain;  ///< <subdomain>.<ns>.svc.<cluster domain>, or empty
};
/// From spec.hostname, hostnameOverride, subdomain, setHostnameAsFQDN. kInvalid when the FQDN passes 64 bytes.
[[nodiscard]] Result<HostName> make_hostname(const Json& pod, std::string_view node_hostname,
                                             std::string_view cluster_domain);

/// The node's resolv.conf: systemd-resolved's real one when /etc/resolv.conf points at its stub on loopback. Blocks.
[[nodiscard]] std::string read_host_resolv_conf();

}  // namespace brume::node
