#include "spec/pod_files.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "brume/base/json.h"
#include "brume/base/strings.h"

namespace brume::node {

namespace {

constexpr std::size_t kMaxNameServers = 3;
constexpr std::size_t kMaxSearchPaths = 32;
constexpr std::size_t kMaxSearchChars = 2048;

struct ResolvConf {
  std::vector<std::string> servers, searches;
  std::vector<std::pair<std::string, std::string>> options;
};

std::vector<std::string> words(std::string_view line) {
  std::istringstream in{std::string(line)};
  std::vector<std::string> out;
  for (std::string w; in >> w;) out.push_back(w);
  return out;
}

void set_option(ResolvConf& conf, const std::string& name, const std::string& value) {
  for (auto& [have, old] : conf.options) {
    if (have == name) {
      old = value;
      return;
    }
  }
  conf.options.emplace_back(name, value);
}

void set_option(ResolvConf& conf, const std::string& text) {
  const auto colon = text.find(':');
  set_option(conf, text.substr(0, colon), colon == std::string::npos ? "" : text.substr(colon + 1));
}

ResolvConf parse(std::string_view text) {
  ResolvConf conf;
  for (const std::string_view line : split(text, '\n')) {
    const auto parts = words(line.substr(0, line.find_first_of("#;")));
    if (parts.size() < 2) continue;
    if (parts[0] == "nameserver") conf.servers.push_back(parts[1]);
    if (parts[0] == "search" || parts[0] == "domain") conf.searches.assign(parts.begin() + 1, parts.end());
    if (parts[0] == "options") {
      for (std::size_t i = 1; i < parts.size(); ++i) set_option(conf, parts[i]);
    }
  }
  // "." means the root, which every name has anyway.
  std::erase(conf.searches, ".");
  return conf;
}

void append_unique(std::vector<std::string>& list, std::string_view value) {
  if (std::find(list.begin(), list.end(), value) == list.end()) list.emplace_back(value);
}

void apply_config(ResolvConf& conf, const Json& config) {
  for (const Json& server : at(config, "nameservers")) append_unique(conf.servers, str(server));
  for (const Json& search : at(config, "searches")) append_unique(conf.searches, str(search));
  for (const Json& option : at(config, "options"))
    set_option(conf, std::string(str(option, "name")), std::string(str(option, "value")));
}

std::string read_file(const char* path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void append_aliases(std::string& out, const Json& pod) {
  const Json& aliases = at(pod, "spec", "hostAliases");
  if (!aliases.is_array() || aliases.empty()) return;
  out += "\n# Entries added by HostAliases.\n";
  for (const Json& alias : aliases) {
    out += str(alias, "ip");
    for (const Json& name : at(alias, "hostnames")) out.append("\t").append(str(name));
    out += '\n';
  }
}

}  // namespace

std::string make_resolv_conf(const Json& pod, const DnsSettings& dns) {
  const Json& spec = at(pod, "spec");
  std::string policy(str(spec, "dnsPolicy"));
  if (policy.empty()) policy = "ClusterFirst";
  if (policy == "ClusterFirst" && flag(spec, "hostNetwork")) policy = "Default";
  const bool cluster = policy == "ClusterFirst" || policy == "ClusterFirstWithHostNet";
  ResolvConf conf = policy == "None" ? ResolvConf{} : parse(dns.host_resolv_conf);
  if (cluster && !dns.cluster_dns.empty()) {
    conf.servers = dns.cluster_dns;
    conf.options.clear();
    const std::string ns(str(at(pod, "metadata"), "namespace"));
    std::vector<std::string> searches;
    for (const std::string& s : {ns + ".svc." + dns.cluster_domain, "svc." + dns.cluster_domain, dns.cluster_domain}) {
      searches.push_back(s);
    }
    for (const std::string& s : conf.searches) append_unique(searches, s);
    conf.searches = std::move(searches);
    set_option(conf, "ndots", "5");
  }
  apply_config(conf, at(spec, "dnsConfig"));
  if (conf.servers.size() > kMaxNameServers) conf.servers.resize(kMaxNameServers);
  if (conf.searches.size() > kMaxSearchPaths) conf.searches.resize(kMaxSearchPaths);
  while (join(conf.searches, " ").size() > kMaxSearchChars) conf.searches.pop_back();
  std::string out;
  if (!conf.searches.empty()) out += "search " + join(conf.searches, " ") + "\n";
  for (const std::string& server : conf.servers) out += "nameserver " + server + "\n";
  if (!conf.options.empty()) {
    out += "options";
    for (const auto& [name, value] : conf.options) out += " " + name + (value.empty() ? "" : ":" + value);
    out += '\n';
  }
  return out;
}

std::string make_hosts(const Json& pod, const std::vector<std::string>& pod_ips, std::string_view hostname,
                       std::string_view domain, std::string_view host_hosts_file) {
  std::string out;
  if (flag(at(pod, "spec"), "hostNetwork")) {
    out = "# Kubernetes-managed hosts file (host network).\n";
    out += host_hosts_file;
    append_aliases(out, pod);
    return out;
  }
  out =
      "# Kubernetes-managed hosts file.\n"
      "127.0.0.1\tlocalhost\n"
      "::1\tlocalhost ip6-localhost ip6-loopback\n"
      "fe00::0\tip6-localnet\n"
      "fe00::0\tip6-mcastprefix\n"
      "fe00::1\tip6-allnodes\n"
      "fe00::2\tip6-allrouters\n";
  for (const std::string& ip : pod_ips) {
    out.append(ip).append("\t");
    if (!domain.empty()) out.append(hostname).append(".").append(domain).append("\t");
    out.append(hostname).append("\n");
  }
  append_aliases(out, pod);
  return out;
}

Result<HostName> make_hostname(const Json& pod, std::string_view node_hostname, std::string_view cluster_domain) {
  constexpr std::size_t kLabelMax = 63;  // RFC 1123
  constexpr std::size_t kUtsMax = 64;    // __NEW_UTS_LEN
  const Json& spec = at(pod, "spec");
  HostName out;
  if (const auto override = str(spec, "hostnameOverride"); !override.empty()) {
    out.hostname = out.short_name = override;
    return out;
  }
  if (flag(spec, "hostNetwork") && str(spec, "hostname").empty()) {
    out.hostname = out.short_name = node_hostname;
    return out;
  }
  std::string name(str(spec, "hostname"));
  if (name.empty()) {
    name = str(at(pod, "metadata"), "name");
    if (name.size() > kLabelMax) name.resize(kLabelMax);
    while (!name.empty() && (name.back() == '-' || name.back() == '.')) name.pop_back();
  }
  out.hostname = out.short_name = name;
  if (const auto subdomain = str(spec, "subdomain"); !subdomain.empty()) {
    out.domain.append(subdomain)
        .append(".")
        .append(str(at(pod, "metadata"), "namespace"))
        .append(".svc.")
        .append(cluster_domain);
  }
  if (flag(spec, "setHostnameAsFQDN") && !out.domain.empty()) {
    out.hostname = name + "." + out.domain;
    if (out.hostname.size() > kUtsMax) {
      return fail(Code::kInvalid, "failed to construct FQDN from pod hostname and cluster domain, FQDN " +
                                      out.hostname + " is too long (64 characters is the max, " +
                                      std::to_string(out.hostname.size()) + " characters requested)");
    }
  }
  return out;
}

std::string read_host_resolv_conf() {
  const std::string text = read_file("/etc/resolv.conf");
  const ResolvConf conf = parse(text);
  const bool stub =
      std::any_of(conf.servers.begin(), conf.servers.end(), [](const std::string& s) { return s == "127.0.0.53"; });
  if (!stub) return text;
  const std::string real = read_file("/run/systemd/resolve/resolv.conf");
  return real.empty() ? text : real;
}

}  // namespace brume::node
