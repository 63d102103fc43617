// Requests and responses as values.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace brume::http {

/// Header fields in order; names compare without case.
class Headers {
 public:
  Headers() = default;
  Headers(std::initializer_list<std::pair<std::string, std::string>> fields) : fields_(fields) {}
  [[nodiscard]] std::string_view get(std::string_view name) const;  ///< first value, or ""
  [[nodiscard]] bool has(std::string_view name) const;
  [[nodiscard]] std::vector<std::string_view> get_all(std::string_view name) const;
  /// Whether a comma-separated list in `name` holds `token` (case-insensitive), as in Connection: upgrade.
  [[nodiscard]] bool has_token(std::string_view name, std::string_view token) const;
  void add(std::string name, std::string value) { fields_.emplace_back(std::move(name), std::move(value)); }
  void set(std::string_view name, std::string value);
  void remove(std::string_view name);
  [[nodiscard]] auto begin() const { return fields_.begin(); }
  [[nodiscard]] auto end() const { return fields_.end(); }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

/// Query parameters, decoded, in order; a name may come more than once.
class Query {
 public:
  /// nullopt for a bad percent escape.
  static std::optional<Query> parse(std::string_view text);
  [[nodiscard]] std::string_view get(std::string_view name) const;  ///< first value, or ""
  [[nodiscard]] bool has(std::string_view name) const;
  [[nodiscard]] std::vector<std::string_view> get_all(std::string_view name) const;
  [[nodiscard]] bool is_true(std::string_view name) const;  ///< "true" or "1"
  void add(std::string name, std::string value) { fields_.emplace_back(std::move(name), std::move(value)); }
  [[nodiscard]] std::string encode() const;
  [[nodiscard]] auto begin() const { return fields_.begin(); }
  [[nodiscard]] auto end() const { return fields_.end(); }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

/// The verified client certificate of a TLS connection.
struct PeerCertificate {
  std::string common_name;
  std::vector<std::string> organizations;
  std::string uid;  ///< subject UID attribute (1.3.6.1.4.1.57683.2), may be empty
};

/// A request whose head was read; the body is read through the Exchange.
struct Request {
  std::string method;
  std::string target;  ///< as on the wire: path?query
  std::string path;    ///< percent-decoded; never has "//", "/../" or NUL
  Query query;
  Headers headers;
  std::string peer_address;  ///< numeric, without port
  std::optional<PeerCertificate> peer_certificate;
};

struct Response {
  int status = 200;
  Headers headers;
  std::string body;
  /// A server's answer goes on with these after `body`: long texts that others own, sent from where they are.
  std::vector<std::string_view> more = {};
  std::shared_ptr<const void> more_owner = {};  ///< keeps them until they are sent

  [[nodiscard]] std::size_t body_size() const;
};

}  // namespace brume::http
