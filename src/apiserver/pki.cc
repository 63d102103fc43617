#include "brume/apiserver/pki.h"

#include <arpa/inet.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "brume/base/log.h"
#include "brume/base/strings.h"
#include "brume/base/x509.h"

namespace brume::apiserver {
namespace {

using std::chrono::days;
using std::chrono::sys_days;
using std::chrono::year;

/// Every certificate is valid from the dawn of Unix time (a day later, clear of time zones and of "zero means unset").
/// Boards without a battery-backed clock boot in 1970 or 2000 and learn the date minutes later: a certificate that is
/// "not yet valid" would lock them out of themselves, and an early notBefore costs no security; only notAfter limits a
/// key.
constexpr WallTime kNotBefore = sys_days{year{1970} / 1 / 2};
/// No certificate ends earlier than this plus its life, for the same clocks: one made in "1970" must survive NTP.
constexpr WallTime kEra = sys_days{year{2026} / 1 / 1};
constexpr days kAuthorityLife{30 * 365};
constexpr days kLeafLife{365};
constexpr days kRenewWhenLeft = kLeafLife / 3;

constexpr std::array kLeaves = {Leaf::kServing, Leaf::kAdmin, Leaf::kNodeClient, Leaf::kNodeServing,
                                Leaf::kKubeletClient};

constexpr std::string_view file_name(Leaf leaf) {
  switch (leaf) {
    case Leaf::kServing: return "serving-kube-apiserver";
    case Leaf::kAdmin: return "client-admin";
    case Leaf::kNodeClient: return "client-kubelet";
    case Leaf::kNodeServing: return "serving-kubelet";
    case Leaf::kKubeletClient: return "client-kube-apiserver";
  }
  return "";
}

WallTime end_of_life(WallTime now, days life) {
  return std::chrono::floor<std::chrono::seconds>(std::max(now, kEra)) + life;
}

bool is_ip(const std::string& text) {
  std::array<unsigned char, 16> address{};
  return inet_pton(AF_INET, text.c_str(), address.data()) == 1 ||
         inet_pton(AF_INET6, text.c_str(), address.data()) == 1;
}

/// As inet_ntop writes it, so that names read back from a certificate compare equal.
std::string canonical_ip(const std::string& text) {
  std::array<unsigned char, 16> address{};
  std::array<char, INET6_ADDRSTRLEN> out{};
  const int family = text.find(':') == std::string::npos ? AF_INET : AF_INET6;
  if (inet_pton(family, text.c_str(), address.data()) != 1) return text;
  return inet_ntop(family, address.data(), out.data(), out.size());
}

void add_san(x509::Spec& spec, const std::string& name) {
  auto& list = is_ip(name) ? spec.ips : spec.dns_names;
  const std::string value = is_ip(name) ? canonical_ip(name) : to_lower(name);
  if (!value.empty() && std::ranges::find(list, value) == list.end()) list.push_back(value);
}

x509::Spec spec_of(Leaf leaf, const PkiOptions& options) {
  x509::Spec spec;
  spec.purpose = x509::Purpose::kClient;
  switch (leaf) {
    case Leaf::kServing:
      spec.purpose = x509::Purpose::kServer;
      spec.common_name = "kube-apiserver";
      for (const auto* name : {"kubernetes", "kubernetes.default", "kubernetes.default.svc"}) add_san(spec, name);
      add_san(spec, "kubernetes.default.svc." + options.cluster_domain);
      for (const auto* name : {"localhost", "127.0.0.1", "::1"}) add_san(spec, name);
      for (const auto& ip : options.service_ips) add_san(spec, ip);
      add_san(spec, options.node_name);
      for (const auto& ip : options.node_ips) add_san(spec, ip);
      for (const auto& name : options.extra_sans) add_san(spec, name);
      break;
    case Leaf::kAdmin:
      spec.common_name = "system:admin";
      spec.organizations = {"system:masters"};
      break;
    case Leaf::kNodeClient:
      spec.common_name = "system:node:" + options.node_name;
      spec.organizations = {"system:nodes"};
      break;
    case Leaf::kNodeServing:
      spec.purpose = x509::Purpose::kServer;
      spec.common_name = "system:node:" + options.node_name;
      spec.organizations = {"system:nodes"};
      add_san(spec, options.node_name);
      for (const auto* name : {"localhost", "127.0.0.1", "::1"}) add_san(spec, name);
      for (const auto& ip : options.node_ips) add_san(spec, ip);
      break;
    case Leaf::kKubeletClient:
      spec.common_name = "kube-apiserver-kubelet-client";
      spec.organizations = {"system:masters"};
      break;
  }
  return spec;
}

std::filesystem::path certificate_path(const PkiOptions& options, std::string_view name) {
  return std::filesystem::path(options.directory) / (std::string(name) + ".crt");
}
std::filesystem::path key_path(const PkiOptions& options, std::string_view name) {
  return std::filesystem::path(options.directory) / (std::string(name) + ".key");
}

/// The whole file; kNotFound when there is none.
Result<std::string> read_file(const std::filesystem::path& path) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) return fail_errno(errno != 0 ? errno : EIO, "reading " + path.string());
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

Error corrupt(const std::filesystem::path& path, const Error& why, std::string_view mend) {
  return {Code::kCorrupt, path.string() + " is damaged (" + why.message + "): " + std::string(mend)};
}

constexpr std::string_view kRestore =
    "restore it from a backup, or remove the whole directory to start with new keys (all kubeconfigs and tokens then "
    "end)";

/// A private key that must not change: made if there is none, refused if it is broken.
Result<PrivateKey> load_or_make_key(const std::filesystem::path& path) {
  auto text = read_file(path);
  if (!text && text.error().code == Code::kNotFound) {
    BRUME_TRY(PrivateKey key, PrivateKey::generate());
    BRUME_CHECK(write_file_atomically(path, key.to_pem(), 0600));
    return key;
  }
  if (!text) return fail(text.error());
  auto key = PrivateKey::from_pem(*text);
  if (!key) return fail(corrupt(path, key.error(), kRestore));
  return key;
}

Status make_private_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return fail_errno(error.value(), "making " + path);
  struct stat there{};
  if (::stat(path.c_str(), &there) == 0 && (there.st_mode & 07777) == 0700)
    return {};  // a read-only disk needs no more
  if (::chmod(path.c_str(), 0700) != 0) return fail_errno(errno, "setting the mode of " + path);
  return {};
}

}  // namespace

Pki::Pki(PkiOptions options, Authority server_ca, Authority client_ca, PrivateKey token_key)
    : options_(std::move(options)),
      server_ca_(std::move(server_ca)),
      client_ca_(std::move(client_ca)),
      token_key_(std::move(token_key)),
      leaves_(kLeaves.size()) {}

Result<Pki::Authority> Pki::load_authority(const PkiOptions& options, std::string_view name, WallTime now) {
  const auto cert_file = certificate_path(options, name);
  auto text = read_file(cert_file);
  if (!text && text.error().code != Code::kNotFound) return fail(text.error());
  std::error_code ignored;
  if (text && !std::filesystem::exists(key_path(options, name), ignored)) {
    return fail(Code::kCorrupt, key_path(options, name).string() + " is missing: " + std::string(kRestore));
  }
  BRUME_TRY(PrivateKey key, load_or_make_key(key_path(options, name)));
  if (text) {
    auto cert = x509::parse(*text);
    if (!cert) return fail(corrupt(cert_file, cert.error(), kRestore));
    if (!x509::is_for(*text, key.public_key())) {
      return fail(corrupt(cert_file, Error{Code::kCorrupt, "it does not belong to its key file"}, kRestore));
    }
    return Authority{std::move(*text), std::move(key)};
  }
  // The name carries the key's birthday as a number, as k3s does: clients that trust several clusters tell CAs apart.
  const auto born = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  const x509::Spec spec{.purpose = x509::Purpose::kCa,
                        .common_name = "brume-" + std::string(name) + "@" + std::to_string(born),
                        .organizations = {},
                        .dns_names = {},
                        .ips = {},
                        .not_before = kNotBefore,
                        .not_after = end_of_life(now, kAuthorityLife)};
  BRUME_TRY(std::string pem, x509::issue(spec, key.public_key(), std::nullopt, key));
  BRUME_CHECK(write_file_atomically(cert_file, pem, 0600));
  return Authority{std::move(pem), std::move(key)};
}

Result<PrivateKey> Pki::load_token_key(const PkiOptions& options) {
  return load_or_make_key(key_path(options, "service"));
}

Result<std::unique_ptr<Pki>> Pki::open(PkiOptions options, WallTime now) {
  for (auto* list : {&options.node_ips, &options.service_ips}) {
    for (const auto& ip : *list) {
      if (!is_ip(ip)) return fail(Code::kInvalid, "not an IP address: " + ip);
    }
  }
  BRUME_CHECK(make_private_directory(options.directory));
  BRUME_TRY(Authority server_ca, load_authority(options, "server-ca", now));
  BRUME_TRY(Authority client_ca, load_authority(options, "client-ca", now));
  BRUME_TRY(PrivateKey token_key, load_token_key(options));
  std::unique_ptr<Pki> pki(
      new Pki(std::move(options), std::move(server_ca), std::move(client_ca), std::move(token_key)));
  for (const Leaf leaf : kLeaves) {
    // A leaf that is missing or damaged is simply due; only what cannot be made anew stops the start.
    auto certificate = read_file(certificate_path(pki->options_, file_name(leaf)));
    auto key = read_file(key_path(pki->options_, file_name(leaf)));
    if (certificate && key) pki->leaves_[static_cast<std::size_t>(leaf)] = {std::move(*certificate), std::move(*key)};
  }
  BRUME_TRY([[maybe_unused]] auto changed, pki->renew_if_needed(now));
  return pki;
}

bool Pki::is_due(Leaf which, const KeyPair& pair, WallTime now) const {
  const auto cert = x509::parse(pair.certificate_pem);
  const auto key = PrivateKey::from_pem(pair.private_key_pem);
  if (!cert || !key || !x509::is_for(pair.certificate_pem, key->public_key())) return true;
  const x509::Spec spec = spec_of(which, options_);
  const auto& ca = spec.purpose == x509::Purpose::kServer ? server_ca_ : client_ca_;
  return cert->not_after - now < kRenewWhenLeft || cert->common_name != spec.common_name ||
         cert->organizations != spec.organizations || cert->dns_names != spec.dns_names || cert->ips != spec.ips ||
         !x509::signed_by(pair.certificate_pem, ca.certificate_pem);
}

Result<KeyPair> Pki::make_leaf(Leaf which, WallTime now) const {
  x509::Spec spec = spec_of(which, options_);
  spec.not_before = kNotBefore;
  spec.not_after = end_of_life(now, kLeafLife);
  const auto& ca = spec.purpose == x509::Purpose::kServer ? server_ca_ : client_ca_;
  BRUME_TRY(const PrivateKey key, PrivateKey::generate());
  BRUME_TRY(std::string pem, x509::issue(spec, key.public_key(), ca.certificate_pem, ca.key));
  return KeyPair{std::move(pem), key.to_pem()};
}

// Key first: a certificate without its key would be a pair that looks whole. A start that finds one without the other
// makes both anew.
Status Pki::save_leaf(Leaf which, const KeyPair& pair) const {
  BRUME_CHECK(write_file_atomically(key_path(options_, file_name(which)), pair.private_key_pem, 0600));
  return write_file_atomically(certificate_path(options_, file_name(which)), pair.certificate_pem, 0600);
}

Result<std::vector<Leaf>> Pki::renew_if_needed(WallTime now) {
  const std::lock_guard lock(mutex_);
  std::vector<Leaf> changed;
  for (const Leaf which : kLeaves) {
    auto& pair = leaves_[static_cast<std::size_t>(which)];
    if (is_due(which, pair, now)) {
      BRUME_TRY(pair, make_leaf(which, now));
      changed.push_back(which);
      unsaved_.insert(which);
    }
    if (!unsaved_.contains(which)) continue;
    // This process serves with what it holds: a disk that takes no writes must not lock everyone out.
    if (const auto saved = save_leaf(which, pair)) {
      unsaved_.erase(which);
    } else {
      log::warn("a new certificate is in memory only",
                {{"certificate", std::string(file_name(which))}, {"error", saved.error().message}});
    }
  }
  return changed;
}

void Pki::set_names(std::vector<std::string> node_ips, std::vector<std::string> extra_sans) {
  const std::lock_guard lock(mutex_);
  options_.node_ips = std::move(node_ips);
  options_.extra_sans = std::move(extra_sans);
}

KeyPair Pki::leaf(Leaf which) const {
  const std::lock_guard lock(mutex_);
  return leaves_[static_cast<std::size_t>(which)];
}

std::string Pki::server_ca_pem() const { return server_ca_.certificate_pem; }
std::string Pki::client_ca_pem() const { return client_ca_.certificate_pem; }
PrivateKey Pki::token_key() const { return token_key_; }

Result<KeyPair> Pki::issue_client(std::string common_name, std::vector<std::string> organizations, WallTime now) const {
  const x509::Spec spec{.purpose = x509::Purpose::kClient,
                        .common_name = std::move(common_name),
                        .organizations = std::move(organizations),
                        .dns_names = {},
                        .ips = {},
                        .not_before = kNotBefore,
                        .not_after = end_of_life(now, kLeafLife)};
  BRUME_TRY(const PrivateKey key, PrivateKey::generate());
  BRUME_TRY(std::string pem, x509::issue(spec, key.public_key(), client_ca_.certificate_pem, client_ca_.key));
  return KeyPair{std::move(pem), key.to_pem()};
}

}  // namespace brume::apiserver
