// Keys and certificates on disk: what is made, when it is renewed, what damage is told.
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "brume/apiserver/pki.h"
#include "brume/base/random.h"
#include "brume/base/time.h"
#include "brume/base/x509.h"
#include "catch.h"

using namespace brume;
using namespace brume::apiserver;
namespace fs = std::filesystem;

namespace {

struct Directory {
  fs::path path = fs::temp_directory_path() / ("brume-pki-" + random_suffix(8));
  ~Directory() { fs::remove_all(path); }
  [[nodiscard]] PkiOptions options() const {
    return {.directory = (path / "tls").string(),
            .node_name = "edge-1",
            .node_ips = {"10.1.2.3"},
            .service_ips = {"10.43.0.1"},
            .extra_sans = {"api.example.org", "FD00:0::1"}};
  }
};

const WallTime kNow = *parse_rfc3339("2026-11-22T12:00:00Z");

bool has(const std::vector<std::string>& list, const std::string& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

void overwrite(const fs::path& path, std::string_view text) { std::ofstream(path, std::ios::trunc) << text; }

}  // namespace

TEST_CASE("pki: a first start makes everything, private") {
  const Directory dir;
  auto pki = Pki::open(dir.options(), kNow);
  REQUIRE(pki.has_value());
  const auto serving = x509::parse((*pki)->leaf(Leaf::kServing).certificate_pem);
  REQUIRE(serving.has_value());
  for (const auto* name : {"kubernetes", "kubernetes.default", "kubernetes.default.svc",
                           "kubernetes.default.svc.cluster.local", "localhost", "edge-1", "api.example.org"}) {
    CHECK(has(serving->dns_names, name));
  }
  for (const auto* ip : {"127.0.0.1", "::1", "10.43.0.1", "10.1.2.3", "fd00::1"}) CHECK(has(serving->ips, ip));
  const auto admin = x509::parse((*pki)->leaf(Leaf::kAdmin).certificate_pem);
  CHECK(admin->organizations == std::vector<std::string>{"system:masters"});
  const auto node = x509::parse((*pki)->leaf(Leaf::kNodeClient).certificate_pem);
  CHECK(node->common_name == "system:node:edge-1");
  CHECK(node->organizations == std::vector<std::string>{"system:nodes"});
  // Clients and servers are told apart by their CAs.
  CHECK(x509::signed_by((*pki)->leaf(Leaf::kServing).certificate_pem, (*pki)->server_ca_pem()));
  CHECK_FALSE(x509::signed_by((*pki)->leaf(Leaf::kServing).certificate_pem, (*pki)->client_ca_pem()));
  CHECK(x509::signed_by((*pki)->leaf(Leaf::kAdmin).certificate_pem, (*pki)->client_ca_pem()));
  CHECK(serving->not_before < *parse_rfc3339("1971-01-01T00:00:00Z"));
  struct stat info{};
  REQUIRE(::stat(dir.options().directory.c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0700);
  for (const auto& file : fs::directory_iterator(dir.options().directory)) {
    REQUIRE(::stat(file.path().c_str(), &info) == 0);
    CHECK((info.st_mode & 07777) == 0600);
    CHECK(file.path().extension() != ".tmp");
  }
}

TEST_CASE("pki: a restart keeps all, even under another umask") {
  const Directory dir;
  const auto first = Pki::open(dir.options(), kNow);
  const auto second = Pki::open(dir.options(), kNow + std::chrono::days(30));
  REQUIRE(second.has_value());
  CHECK((*first)->server_ca_pem() == (*second)->server_ca_pem());
  CHECK((*first)->leaf(Leaf::kServing).certificate_pem == (*second)->leaf(Leaf::kServing).certificate_pem);
  CHECK((*first)->token_key().to_pem() == (*second)->token_key().to_pem());
}

TEST_CASE("pki: leaves are renewed with a third of their life left") {
  const Directory dir;
  const auto opened = Pki::open(dir.options(), kNow);
  auto& pki = **opened;
  CHECK(pki.renew_if_needed(kNow + std::chrono::days(242))->empty());
  const auto before = pki.leaf(Leaf::kAdmin).certificate_pem;
  const auto changed = pki.renew_if_needed(kNow + std::chrono::days(245));
  REQUIRE(changed.has_value());
  CHECK(changed->size() == 5);
  CHECK(pki.leaf(Leaf::kAdmin).certificate_pem != before);
  CHECK(x509::parse(pki.leaf(Leaf::kAdmin).certificate_pem)->not_after >= kNow + std::chrono::days(245 + 365));
  CHECK(pki.renew_if_needed(kNow + std::chrono::days(246))->empty());
  // Long off: the leaves ended, and the next look makes new ones.
  CHECK(pki.renew_if_needed(kNow + std::chrono::days(4000))->size() == 5);
}

TEST_CASE("pki: a board that starts in 1970 is not locked out when the clock jumps") {
  const Directory dir;
  const WallTime boot = *parse_rfc3339("1970-01-02T00:00:10Z");
  const auto opened = Pki::open(dir.options(), boot);
  REQUIRE(opened.has_value());
  const auto ca = x509::parse((*opened)->server_ca_pem());
  CHECK(ca->not_before <= boot);
  CHECK(ca->not_after > *parse_rfc3339("2055-01-01T00:00:00Z"));
  CHECK(x509::parse((*opened)->leaf(Leaf::kServing).certificate_pem)->not_after >=
        *parse_rfc3339("2027-01-01T00:00:00Z"));
}

TEST_CASE("pki: a leaf that cannot be written serves from memory") {
  const Directory dir;
  REQUIRE(Pki::open(dir.options(), kNow));
  auto moved = dir.options();
  moved.node_ips = {"10.9.9.9"};  // an address changed while the machine was off
  const std::string tls = dir.path / "tls";
  REQUIRE(::mount(tls.c_str(), tls.c_str(), nullptr, MS_BIND, nullptr) == 0);
  REQUIRE(::mount(nullptr, tls.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) == 0);
  const auto pki = Pki::open(moved, kNow);
  ::umount2(tls.c_str(), MNT_DETACH);
  REQUIRE(pki);
  const std::string serving = (*pki)->leaf(Leaf::kServing).certificate_pem;
  CHECK(has(x509::parse(serving)->ips, "10.9.9.9"));
  const auto on_disk = [&] {
    const auto again = Pki::open(moved, kNow);  // keeps what is whole and good
    return again ? (*again)->leaf(Leaf::kServing).certificate_pem : again.error().message;
  };
  SECTION("until the disk takes writes again") {
    CHECK((*pki)->renew_if_needed(kNow)->empty());
    CHECK((on_disk() == serving));
  }
  SECTION("or a next start makes its own") { CHECK((on_disk() != serving)); }
}

TEST_CASE("pki: new names make new serving certificates and nothing else") {
  const Directory dir;
  const auto opened = Pki::open(dir.options(), kNow);
  auto& pki = **opened;
  pki.set_names({"10.1.2.4"}, {"api.example.org", "fd00::1"});
  const auto changed = pki.renew_if_needed(kNow);
  REQUIRE(changed.has_value());
  CHECK(*changed == std::vector<Leaf>{Leaf::kServing, Leaf::kNodeServing});
  const auto serving = x509::parse(pki.leaf(Leaf::kServing).certificate_pem);
  CHECK(has(serving->ips, "10.1.2.4"));
  CHECK_FALSE(has(serving->ips, "10.1.2.3"));
}

TEST_CASE("pki: damage is named, or mended where that is safe") {
  const Directory dir;
  REQUIRE(Pki::open(dir.options(), kNow).has_value());
  const fs::path tls = dir.options().directory;
  SECTION("a leaf is made anew") {
    overwrite(tls / "client-admin.crt", "garbage");
    const auto again = Pki::open(dir.options(), kNow);
    REQUIRE(again.has_value());
    CHECK(x509::parse((*again)->leaf(Leaf::kAdmin).certificate_pem).has_value());
  }
  SECTION("a leaf's key of another pair is noticed") {
    fs::copy_file(tls / "client-kubelet.key", tls / "client-admin.key", fs::copy_options::overwrite_existing);
    const auto again = Pki::open(dir.options(), kNow);
    const auto pair = (*again)->leaf(Leaf::kAdmin);
    CHECK(x509::is_for(pair.certificate_pem, PrivateKey::from_pem(pair.private_key_pem)->public_key()));
  }
  SECTION("a CA certificate") {
    overwrite(tls / "server-ca.crt", "");
    const auto error = Pki::open(dir.options(), kNow).error();
    CHECK(error.code == Code::kCorrupt);
    CHECK(error.message.find((tls / "server-ca.crt").string()) == 0);
    CHECK(error.message.find("restore it from a backup") != std::string::npos);
  }
  SECTION("a CA key") {
    overwrite(tls / "client-ca.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    CHECK(Pki::open(dir.options(), kNow).error().message.find("client-ca.key") != std::string::npos);
  }
  SECTION("a CA key that is gone is not replaced by one that fits nothing") {
    fs::remove(tls / "server-ca.key");
    const auto error = Pki::open(dir.options(), kNow).error();
    CHECK(error.code == Code::kCorrupt);
    CHECK(error.message.find("server-ca.key is missing") != std::string::npos);
  }
  SECTION("the token key") {
    overwrite(tls / "service.key", "x");
    CHECK(Pki::open(dir.options(), kNow).error().message.find("service.key") != std::string::npos);
  }
  SECTION("a new CA makes new leaves") {
    fs::remove(tls / "client-ca.key");
    fs::remove(tls / "client-ca.crt");
    const auto again = Pki::open(dir.options(), kNow);
    REQUIRE(again.has_value());
    CHECK(x509::signed_by((*again)->leaf(Leaf::kAdmin).certificate_pem, (*again)->client_ca_pem()));
  }
}

TEST_CASE("pki: bad addresses and unwritable places are refused") {
  const Directory dir;
  auto options = dir.options();
  options.node_ips = {"10.1.2"};
  CHECK(Pki::open(options, kNow).error().message == "not an IP address: 10.1.2");
  options = dir.options();
  options.directory = "/proc/brume-cannot-be-made";
  CHECK_FALSE(Pki::open(options, kNow).has_value());
}

TEST_CASE("kubeconfig and atomic files") {
  const auto text = kubeconfig({.server = "https://127.0.0.1:6443", .server_ca_pem = "CA", .client = {"CERT", "KEY"}});
  CHECK(text.find("server: \"https://127.0.0.1:6443\"") != std::string::npos);
  CHECK(text.find("certificate-authority-data: Q0E=") != std::string::npos);
  CHECK(text.find("current-context: \"brume\"") != std::string::npos);
  const Directory dir;
  fs::create_directories(dir.path);
  const auto file = dir.path / "config.yaml";
  const auto old = ::umask(0);
  REQUIRE(write_file_atomically(file, "one", 0640).has_value());
  REQUIRE(write_file_atomically(file, "two", 0600).has_value());
  ::umask(old);
  struct stat info{};
  REQUIRE(::stat(file.c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0600);
  CHECK(info.st_size == 3);
  CHECK(std::distance(fs::directory_iterator(dir.path), fs::directory_iterator()) == 1);
  CHECK(write_file_atomically(dir.path / "no" / "file", "x", 0600).error().code == Code::kNotFound);
}
