#include "dns_zone.h"

#include <netinet/in.h>

#include <algorithm>

#include "catch.h"

using namespace brume;
using namespace brume::network;
using namespace brume::network::dns;

namespace {

net::IpAddress ip(const std::string& text) { return *net::IpAddress::parse(text); }

ServiceView service(const std::string& name, std::vector<net::IpAddress> ips) {
  ServiceView view;
  view.ns = "default";
  view.name = name;
  view.headless = ips.empty();
  view.cluster_ips = std::move(ips);
  view.ports = {{"http", IPPROTO_TCP, "tcp", 80, 0}};
  return view;
}

EndpointView endpoint(const std::string& address, const std::string& hostname = "", bool ready = true) {
  EndpointView view;
  view.addresses = {ip(address)};
  view.hostname = hostname;
  view.ready = ready;
  return view;
}

struct Bench {
  ClusterZone zone{"cluster.local", 100};
  Bench() {
    zone.set_namespace("default");
    zone.set_service(service("web", {ip("10.43.0.80"), ip("fd00:43::80")}));
    zone.set_service(service("db", {}));
    zone.set_service(service("nobody", {}));
    ServiceView alias = service("alias", {});
    alias.external_name = "example.com";
    zone.set_service(alias);
    zone.set_slice("default/web-1", {"default/web", {{"http", IPPROTO_TCP, "tcp", 8080, 0}}, {endpoint("10.42.0.9")}});
    zone.set_slice("default/db-1",
                   {"default/db",
                    {{"http", IPPROTO_TCP, "tcp", 5432, 0}},
                    {endpoint("10.42.0.5", "db-0"), endpoint("10.42.0.6"), endpoint("10.42.0.7", "db-2", false)}});
  }
  std::optional<Answer> ask(const std::string& name, Type type) const {
    Query query;
    query.name = *Name::parse(name);
    query.type = static_cast<std::uint16_t>(type);
    query.klass = kClassIn;
    return zone.resolve(query);
  }
  /// "NXDOMAIN", "NODATA", "forward", or the records' data sorted.
  std::string text(const std::string& name, Type type) const {
    auto answer = ask(name, type);
    if (!answer) return "forward";
    if (answer->rcode == Rcode::kNxDomain)
      return answer->authority.size() == 1 && answer->answers.empty() ? "NXDOMAIN" : "broken";
    if (answer->rcode != Rcode::kNoError) return "error";
    if (answer->answers.empty()) return answer->authority.size() == 1 ? "NODATA" : "broken";
    std::vector<std::string> parts;
    for (const auto& record : answer->answers) {
      std::string part;
      if (record.type == Type::kA || record.type == Type::kAaaa) {
        part = net::IpAddress::from_octets(record.data)->str();
      } else if (record.type == Type::kSrv) {
        part = std::to_string(static_cast<unsigned char>(record.data[4]) * 256 +
                              static_cast<unsigned char>(record.data[5])) +
               " " + Name::from_wire(record.data.substr(6)).str();
      } else if (record.type == Type::kTxt) {
        part = record.data.substr(1);
      } else if (record.type == Type::kSoa) {
        part = "soa";
      } else {
        part = Name::from_wire(record.data).str();
      }
      parts.push_back(part);
    }
    std::sort(parts.begin(), parts.end());
    std::string all;
    for (const auto& part : parts) all += (all.empty() ? "" : ",") + part;
    return all;
  }
};

}  // namespace

TEST_CASE("services with a cluster IP") {
  Bench b;
  CHECK(b.text("web.default.svc.cluster.local", Type::kA) == "10.43.0.80");
  CHECK(b.text("WEB.Default.SVC.cluster.LOCAL", Type::kA) == "10.43.0.80");
  CHECK(b.text("web.default.svc.cluster.local", Type::kAaaa) == "fd00:43::80");
  CHECK(b.text("web.default.svc.cluster.local", Type::kTxt) == "NODATA");
  CHECK(b.text("web.other.svc.cluster.local", Type::kA) == "NXDOMAIN");
  CHECK(b.text("none.default.svc.cluster.local", Type::kA) == "NXDOMAIN");
  CHECK(b.text("*.default.svc.cluster.local", Type::kA) == "NXDOMAIN");
  CHECK(b.text("web.default.svc.cluster.local", Type::kSrv) == "80 web.default.svc.cluster.local");
  CHECK(b.text("_http._tcp.web.default.svc.cluster.local", Type::kSrv) == "80 web.default.svc.cluster.local");
  CHECK(b.text("_http._tcp.web.default.svc.cluster.local", Type::kA) == "10.43.0.80");
  CHECK(b.text("_http._udp.web.default.svc.cluster.local", Type::kSrv) == "NXDOMAIN");
  CHECK(b.text("_dns._tcp.web.default.svc.cluster.local", Type::kSrv) == "NXDOMAIN");
  CHECK(b.text("10-42-0-9.web.default.svc.cluster.local", Type::kA) == "10.42.0.9");
  CHECK(b.ask("web.default.svc.cluster.local", Type::kSrv)->additional.size() == 2);
  CHECK(b.ask("Web.default.svc.cluster.local", Type::kA)->answers[0].name.str() == "Web.default.svc.cluster.local");
}

TEST_CASE("headless services and their pods") {
  Bench b;
  CHECK(b.text("db.default.svc.cluster.local", Type::kA) == "10.42.0.5,10.42.0.6");
  CHECK(b.text("db.default.svc.cluster.local", Type::kAaaa) == "NODATA");
  CHECK(b.text("db-0.db.default.svc.cluster.local", Type::kA) == "10.42.0.5");
  CHECK(b.text("10-42-0-6.db.default.svc.cluster.local", Type::kA) == "10.42.0.6");
  CHECK(b.text("db-2.db.default.svc.cluster.local", Type::kA) == "NXDOMAIN");
  CHECK(b.text("_http._tcp.db.default.svc.cluster.local", Type::kSrv) ==
        "5432 10-42-0-6.db.default.svc.cluster.local,5432 db-0.db.default.svc.cluster.local");
  CHECK(b.ask("_http._tcp.db.default.svc.cluster.local", Type::kSrv)->additional.size() == 2);
  CHECK(b.text("nobody.default.svc.cluster.local", Type::kA) == "NXDOMAIN");
}

TEST_CASE("aliases, pods, the zone itself") {
  Bench b;
  CHECK(b.text("alias.default.svc.cluster.local", Type::kA) == "example.com");
  CHECK(b.text("alias.default.svc.cluster.local", Type::kCname) == "example.com");
  CHECK(b.text("alias.default.svc.cluster.local", Type::kTxt) == "NODATA");
  CHECK(b.text("10-42-0-5.default.pod.cluster.local", Type::kA) == "10.42.0.5");
  CHECK(b.text("fd00--5.default.pod.cluster.local", Type::kAaaa) == "fd00::5");
  CHECK(b.text("10-42-0-5.none.pod.cluster.local", Type::kA) == "NXDOMAIN");
  CHECK(b.text("x.default.pod.cluster.local", Type::kA) == "NXDOMAIN");
  CHECK(b.text("dns-version.cluster.local", Type::kTxt) == "1.1.0");
  CHECK(b.text("cluster.local", Type::kSoa) == "soa");
  CHECK(b.text("cluster.local", Type::kNs) == "ns.dns.cluster.local");
  for (const char* inner : {"cluster.local", "svc.cluster.local", "pod.cluster.local", "default.svc.cluster.local"}) {
    CHECK(b.text(inner, Type::kA) == "NODATA");
  }
  CHECK(b.text("none.svc.cluster.local", Type::kA) == "NXDOMAIN");
  CHECK(b.text("www.example.com.cluster.local", Type::kA) == "NXDOMAIN");
  CHECK(b.text("www.example.com", Type::kA) == "forward");
  auto negative = b.ask("none.svc.cluster.local", Type::kA);
  CHECK(negative->authority[0].name.str() == "cluster.local");
  CHECK(negative->authority[0].ttl == 30);
}

TEST_CASE("reverse names") {
  Bench b;
  CHECK(b.text("80.0.43.10.in-addr.arpa", Type::kPtr) == "web.default.svc.cluster.local");
  CHECK(b.text("5.0.42.10.in-addr.arpa", Type::kPtr) == "db-0.db.default.svc.cluster.local");
  CHECK(b.text("9.0.42.10.in-addr.arpa", Type::kPtr) == "10-42-0-9.web.default.svc.cluster.local");
  CHECK(b.text("7.0.42.10.in-addr.arpa", Type::kPtr) == "forward");
  CHECK(b.text("0.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.3.4.0.0.0.0.d.f.ip6.arpa", Type::kPtr) ==
        "web.default.svc.cluster.local");
  CHECK(b.text("43.10.in-addr.arpa", Type::kPtr) == "forward");
}

TEST_CASE("changes are followed, and nothing stays behind") {
  Bench b;
  b.zone.set_service(service("web", {ip("10.43.0.90")}));
  CHECK(b.text("web.default.svc.cluster.local", Type::kA) == "10.43.0.90");
  CHECK(b.text("80.0.43.10.in-addr.arpa", Type::kPtr) == "forward");
  CHECK(!b.zone.has_cluster_ip(ip("10.43.0.80")));
  b.zone.set_slice("default/db-1", {"default/db", {}, {endpoint("10.42.0.8", "db-3")}});
  CHECK(b.text("db.default.svc.cluster.local", Type::kA) == "10.42.0.8");
  CHECK(b.text("5.0.42.10.in-addr.arpa", Type::kPtr) == "forward");
  b.zone.remove_slice("default/db-1");
  b.zone.remove_slice("default/db-1");
  CHECK(b.text("db.default.svc.cluster.local", Type::kA) == "NXDOMAIN");
  b.zone.remove_service("default/web");
  CHECK(b.text("web.default.svc.cluster.local", Type::kA) == "NXDOMAIN");
  b.zone.remove_namespace("default");
  CHECK(b.text("default.svc.cluster.local", Type::kA) == "NXDOMAIN");
}
