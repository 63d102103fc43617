// The cluster's keys and certificates: made at the first start, renewed long before they end, kept in
// <data-dir>/server/tls as PEM files of mode 0600: NAME.crt and NAME.key for server-ca, client-ca,
// serving-kube-apiserver, client-admin, client-kubelet, serving-kubelet and client-kube-apiserver; service.key signs
// service-account tokens.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/crypto.h"
#include "brume/base/result.h"
#include "brume/base/time.h"

namespace brume::apiserver {

struct PkiOptions {
  std::string directory;                 ///< <data-dir>/server/tls; made with mode 0700
  std::string node_name;                 ///< lower case, as the Node object is named
  std::vector<std::string> node_ips;     ///< textual; in the serving certificates
  std::vector<std::string> service_ips;  ///< the `kubernetes` Service's address of each service CIDR
  std::string cluster_domain = "cluster.local";
  std::vector<std::string> extra_sans;  ///< --tls-san: addresses and host names
};

/// A certificate (with its chain, if any) and its private key, both PEM.
struct KeyPair {
  std::string certificate_pem;
  std::string private_key_pem;
};

/// The leaf certificates that Pki keeps.
enum class Leaf : std::uint8_t {
  kServing,        ///< of the API server: kubernetes.default.svc and its kin, localhost, node, --tls-san
  kAdmin,          ///< client, O=system:masters: what the admin kubeconfig holds
  kNodeClient,     ///< client, CN=system:node:<name>, O=system:nodes: this node's agent
  kNodeServing,    ///< of this node's HTTPS endpoint (logs, exec)
  kKubeletClient,  ///< client, CN=kube-apiserver-kubelet-client, O=system:masters: API server to node endpoints
};

/// Owns the files of one directory. Thread-safe: certificates are handed out as copies, renewal swaps them.
class Pki {
 public:
  /// Reads the directory, makes what is missing and renews what is due at `now`. kCorrupt names a file that cannot be
  /// understood and says how to mend it: nothing that is there is overwritten unless it is a leaf (those are made
  /// anew).
  static Result<std::unique_ptr<Pki>> open(PkiOptions options, WallTime now);

  /// Makes leaves anew whose life is two thirds over, whose names differ from the options or which another CA signed.
  /// Gives what changed, so that the caller can hot-swap it. A leaf that cannot be written is held in memory, with a
  /// warning in the log, and each call tries to write it again. Call it daily, and after a jump of the clock.
  Result<std::vector<Leaf>> renew_if_needed(WallTime now);
  /// New names for the serving certificates (addresses come and go); takes effect at the next renew_if_needed().
  void set_names(std::vector<std::string> node_ips, std::vector<std::string> extra_sans);

  [[nodiscard]] KeyPair leaf(Leaf which) const;
  /// What clients verify servers with; also the content of the kube-root-ca.crt ConfigMaps.
  [[nodiscard]] std::string server_ca_pem() const;
  /// What servers verify client certificates with.
  [[nodiscard]] std::string client_ca_pem() const;
  /// Signs service-account tokens.
  [[nodiscard]] PrivateKey token_key() const;
  /// A client certificate for another node or user, signed by the client CA, with a new key.
  [[nodiscard]] Result<KeyPair> issue_client(std::string common_name, std::vector<std::string> organizations,
                                             WallTime now) const;

 private:
  struct Authority {
    std::string certificate_pem;
    PrivateKey key;
  };
  Pki(PkiOptions options, Authority server_ca, Authority client_ca, PrivateKey token_key);
  static Result<Authority> load_authority(const PkiOptions& options, std::string_view name, WallTime now);
  static Result<PrivateKey> load_token_key(const PkiOptions& options);
  Result<KeyPair> make_leaf(Leaf which, WallTime now) const;
  Status save_leaf(Leaf which, const KeyPair& pair) const;
  [[nodiscard]] bool is_due(Leaf which, const KeyPair& pair, WallTime now) const;

  PkiOptions options_;
  Authority server_ca_, client_ca_;
  PrivateKey token_key_;
  mutable std::mutex mutex_;  ///< guards leaves_, unsaved_ and the names in options_
  std::vector<KeyPair> leaves_;
  std::set<Leaf> unsaved_;  ///< made, and not in their files yet
};

struct KubeconfigOptions {
  std::string server;  ///< https://127.0.0.1:6443
  std::string server_ca_pem;
  KeyPair client;
  std::string name = "brume";  ///< of cluster, user and context
};

/// A kubeconfig (YAML) with everything embedded.
[[nodiscard]] std::string kubeconfig(const KubeconfigOptions& options);

/// Writes a file so that after a power cut either the old or the new content is there, whole: a temporary file beside
/// it, fsync, rename, fsync of the directory. `mode` such as 0600 holds from the first byte on. The directory must
/// exist.
Status write_file_atomically(const std::filesystem::path& path, std::string_view content, unsigned mode);

}  // namespace brume::apiserver
