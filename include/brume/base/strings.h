// Small text helpers: splitting, encodings, JSON string escaping.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace brume {

/// Parts of `text` between `separator`; "" gives one empty part.
[[nodiscard]] std::vector<std::string_view> split(std::string_view text, char separator);
[[nodiscard]] std::string join(std::span<const std::string> parts, std::string_view separator);
/// Without ASCII white space at both ends.
[[nodiscard]] std::string_view trim(std::string_view text);
[[nodiscard]] std::string to_lower(std::string_view text);
[[nodiscard]] bool iequals(std::string_view a, std::string_view b);  ///< ASCII case-insensitive
/// A whole decimal integer, nothing around it.
[[nodiscard]] std::optional<std::int64_t> parse_int(std::string_view text);

/// RFC 4648 section 4, padded. base64_decode takes nothing but the alphabet (and line breaks).
[[nodiscard]] std::string base64_encode(std::string_view bytes);
[[nodiscard]] std::optional<std::string> base64_decode(std::string_view text);
/// RFC 4648 section 5, unpadded: what JOSE uses.
[[nodiscard]] std::string base64url_encode(std::string_view bytes);
[[nodiscard]] std::optional<std::string> base64url_decode(std::string_view text);
[[nodiscard]] std::string hex_encode(std::string_view bytes);
[[nodiscard]] std::optional<std::string> hex_decode(std::string_view text);

/// Appends `text` as a JSON string with its quotes; invalid UTF-8 becomes U+FFFD.
void append_json_string(std::string& out, std::string_view text);
/// Whether `text` is well-formed UTF-8 (no surrogates, no overlong forms).
[[nodiscard]] bool is_utf8(std::string_view text);

/// %XX and (when `plus_is_space`) '+' decoded; nullopt for a bad escape.
[[nodiscard]] std::optional<std::string> url_decode(std::string_view text, bool plus_is_space);
[[nodiscard]] std::string url_encode(std::string_view text);

}  // namespace brume
