// The forms that names, keys, addresses and the like must have. Each check answers Kubernetes' words for what is wrong.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/validation/errors.h"

namespace brume::api::validation {

/// A check of a string's form.
using Format = Messages (*)(std::string_view);

[[nodiscard]] Messages dns1123_label(std::string_view value);      ///< RFC 1123, 63 bytes
[[nodiscard]] Messages dns1123_subdomain(std::string_view value);  ///< RFC 1123, 253 bytes
[[nodiscard]] Messages dns1123_subdomain_underscore(std::string_view value);
[[nodiscard]] Messages dns1035_label(std::string_view value);       ///< RFC 1035, 63 bytes
[[nodiscard]] Messages wildcard_subdomain(std::string_view value);  ///< *.example.com
[[nodiscard]] Messages path_segment(std::string_view value);        ///< neither ".", ".." nor with '/' or '%'
[[nodiscard]] Messages qualified_name(std::string_view value);      ///< a label key
[[nodiscard]] Messages label_value(std::string_view value);
[[nodiscard]] Messages env_name(std::string_view value);
[[nodiscard]] Messages config_key(std::string_view value);  ///< of a ConfigMap or Secret
[[nodiscard]] Messages port_name(std::string_view value);   ///< RFC 6335 service name
[[nodiscard]] Messages percent(std::string_view value);
[[nodiscard]] Messages http_header_name(std::string_view value);
[[nodiscard]] Messages ip_address(std::string_view value);
[[nodiscard]] Messages canonical_ip_name(std::string_view value);  ///< of an IPAddress
[[nodiscard]] Messages port_number(std::int64_t value);
[[nodiscard]] Messages id_number(std::int64_t value);  ///< a user or group id

[[nodiscard]] std::string range_message(std::int64_t low, std::int64_t high);
[[nodiscard]] std::string max_length_message(std::size_t length);

/// An IP address's binary form (4 or 16 bytes), or nothing for what is no address or is written ambiguously (leading
/// zeros, IPv4 mapped into IPv6).
[[nodiscard]] std::optional<std::string> parse_address(std::string_view text);
[[nodiscard]] std::string canonical_address(std::string_view bytes);
[[nodiscard]] bool is_ipv6(std::string_view text);

void check_ip(Errors& errors, const Path& path, std::string_view value);
void check_canonical_ip(Errors& errors, const Path& path, std::string_view value);
void check_cidr(Errors& errors, const Path& path, std::string_view value);
/// Runs a format check and reports each message against the value.
void check_format(Errors& errors, const Path& path, std::string_view value, Format format);

void check_label_key(Errors& errors, const Path& path, std::string_view key);
void check_labels(Errors& errors, const Path& path, const Json& labels);
void check_annotations(Errors& errors, const Path& path, const Json& annotations);
/// metav1.LabelSelector: operators, keys and values.
void check_label_selector(Errors& errors, const Path& path, const Json& selector, bool values = true);
/// An int-or-percent that is not negative; strings must be a percentage (or, with `port`, a port name).
void check_int_or_percent(Errors& errors, const Path& path, const Json& value);
/// An int-or-percent that, as a percentage, is not above 100%.
void check_at_most_100(Errors& errors, const Path& path, const Json& value);

}  // namespace brume::api::validation
