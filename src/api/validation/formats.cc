#include "api/validation/formats.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

constexpr std::string_view kLabelRegex = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
constexpr std::size_t kLabelLimit = 63;       // RFC 1035 2.3.4
constexpr std::size_t kSubdomainLimit = 253;  // RFC 1035's 255 octets less the length bytes at both ends

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_lower_alnum(char c) { return is_lower(c) || is_digit(c); }
bool is_alnum(char c) { return is_lower_alnum(c) || (c >= 'A' && c <= 'Z'); }

bool all_of(std::string_view text, bool (*accept)(char)) { return std::all_of(text.begin(), text.end(), accept); }

bool is_label(std::string_view text) {
  return !text.empty() && is_lower_alnum(text.front()) && is_lower_alnum(text.back()) &&
         all_of(text, [](char c) { return is_lower_alnum(c) || c == '-'; });
}
bool is_label_underscore(std::string_view text) {
  if (!text.empty() && text.front() == '_') text.remove_prefix(1);
  return !text.empty() && is_lower_alnum(text.front()) && is_lower_alnum(text.back()) &&
         all_of(text, [](char c) { return is_lower_alnum(c) || c == '-' || c == '_'; });
}

template <typename Check>
bool each_part(std::string_view text, Check check) {
  for (;;) {
    const auto dot = text.find('.');
    if (!check(text.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

bool is_name_part(std::string_view text) {
  return !text.empty() && is_alnum(text.front()) && is_alnum(text.back()) &&
         all_of(text, [](char c) { return is_alnum(c) || c == '-' || c == '_' || c == '.'; });
}

std::string max_bytes(std::size_t limit) { return "must be no more than " + std::to_string(limit) + " bytes"; }

// "<rule> (e.g. 'a',  or 'b', regex used for validation is '...')"
std::string rule_message(std::string_view rule, std::string_view regex,
                         std::initializer_list<std::string_view> examples) {
  std::string out(rule);
  out += " (";
  bool first = true;
  for (const auto example : examples) {
    out.append(first ? "e.g. '" : " or '").append(example).append("', ");
    first = false;
  }
  return out.append("regex used for validation is '").append(regex).append("')");
}

std::string subdomain_message() {
  return rule_message(
      "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
      "and "
      "end with an alphanumeric character",
      "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", {"example.com"});
}

void add_dot_faults(Messages& out, std::string_view value) {
  if (value == ".") {
    out.emplace_back("must not be '.'");
  } else if (value == "..") {
    out.emplace_back("must not be '..'");
  } else if (value.starts_with("..")) {
    out.emplace_back("must not start with '..'");
  }
}

constexpr std::string_view kNamePartRule =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
constexpr std::string_view kNamePartRegex = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

std::string name_part_message(std::string_view lead) {
  return std::string(lead) + rule_message(kNamePartRule, kNamePartRegex, {"MyName", "my.name", "123-abc"});
}

}  // namespace

std::string range_message(std::int64_t low, std::int64_t high) {
  return "must be between " + std::to_string(low) + " and " + std::to_string(high) + ", inclusive";
}
std::string max_length_message(std::size_t length) {
  return "must be no more than " + std::to_string(length) + " characters";
}

Messages dns1123_label(std::string_view value) {
  Messages out;
  if (value.size() > kLabelLimit) out.push_back(max_length_message(kLabelLimit));
  if (is_label(value)) return out;
  if (each_part(value, is_label)) {
    out.emplace_back("must not contain dots");
  } else {
    out.push_back(rule_message(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
        "with an alphanumeric character",
        kLabelRegex, {"my-name", "123-abc"}));
  }
  return out;
}

Messages dns1123_subdomain(std::string_view value) {
  Messages out;
  if (value.size() > kSubdomainLimit) out.push_back(max_length_message(kSubdomainLimit));
  if (!each_part(value, is_label)) out.push_back(subdomain_message());
  return out;
}

Messages dns1123_subdomain_underscore(std::string_view value) {
  Messages out;
  if (value.size() > kSubdomainLimit) out.push_back(max_length_message(kSubdomainLimit));
  if (!each_part(value, is_label_underscore)) {
    out.push_back(rule_message(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must "
        "start and end with an alphanumeric character",
        "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*", {"example.com"}));
  }
  return out;
}

Messages dns1035_label(std::string_view value) {
  Messages out;
  if (value.size() > kLabelLimit) out.push_back(max_length_message(kLabelLimit));
  if (!is_label(value) || !is_lower(value.front())) {
    out.push_back(
        rule_message("a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
                     "alphabetic character, "
                     "and end with an alphanumeric character",
                     "[a-z]([-a-z0-9]*[a-z0-9])?", {"my-name", "abc-123"}));
  }
  return out;
}

Messages wildcard_subdomain(std::string_view value) {
  Messages out;
  if (value.size() > kSubdomainLimit) out.push_back(max_length_message(kSubdomainLimit));
  if (!value.starts_with("*.") || !each_part(value.substr(2), is_label)) {
    out.push_back(rule_message(
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
        "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
        "\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", {"*.example.com"}));
  }
  return out;
}

Messages path_segment(std::string_view value) {
  if (value == "." || value == "..") return {"may not be '" + std::string(value) + "'"};
  Messages out;
  for (const char c : {'/', '%'}) {
    if (value.find(c) != std::string_view::npos) out.push_back(std::string("may not contain '") + c + "'");
  }
  return out;
}

Messages qualified_name(std::string_view value) {
  Messages out;
  std::string_view name = value;
  if (const auto slash = value.find('/'); slash != std::string_view::npos) {
    const auto prefix = value.substr(0, slash);
    name = value.substr(slash + 1);
    if (name.find('/') != std::string_view::npos) {
      return {name_part_message("a valid label key ") +
              " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"};
    }
    if (prefix.empty()) {
      out.emplace_back("prefix part must be non-empty");
    } else {
      if (prefix.size() > kSubdomainLimit) out.push_back("prefix part " + max_bytes(kSubdomainLimit));
      if (!each_part(prefix, is_label)) out.push_back("prefix part " + subdomain_message());
    }
  }
  if (name.empty()) {
    out.emplace_back("name part must be non-empty");
  } else if (name.size() > kLabelLimit) {
    out.push_back("name part " + max_bytes(kLabelLimit));
  }
  if (!is_name_part(name)) out.push_back(name_part_message("name part "));
  return out;
}

Messages label_value(std::string_view value) {
  Messages out;
  if (value.size() > kLabelLimit) out.push_back(max_bytes(kLabelLimit));
  if (!value.empty() && !is_name_part(value)) {
    out.push_back(
        rule_message("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
                     "and must start and "
                     "end with an alphanumeric character",
                     "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", {"MyValue", "my_value", "12345"}));
  }
  return out;
}

// Kubernetes 1.32 and later: any printable ASCII but '='.
Messages env_name(std::string_view value) {
  if (value.empty()) return {"environment variable name must be non-empty"};
  if (!all_of(value, [](char c) { return c >= 0x20 && c < 0x7f && c != '='; })) {
    return {"a valid environment variable name must consist only of printable ASCII characters other than '='"};
  }
  return {};
}

Messages config_key(std::string_view value) {
  Messages out;
  if (value.size() > kSubdomainLimit) out.push_back(max_length_message(kSubdomainLimit));
  if (value.empty() || !all_of(value, [](char c) { return is_alnum(c) || c == '-' || c == '_' || c == '.'; })) {
    out.push_back(rule_message("a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
                               "[-._a-zA-Z0-9]+", {"key.name", "KEY_NAME", "key-name"}));
  }
  add_dot_faults(out, value);
  return out;
}

Messages port_name(std::string_view value) {
  Messages out;
  if (value.size() > 15) out.push_back(max_length_message(15));  // RFC 6335 5.1
  if (value.empty() || !all_of(value, [](char c) { return is_lower_alnum(c) || c == '-'; })) {
    out.emplace_back("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
  }
  if (std::none_of(value.begin(), value.end(), is_lower)) out.emplace_back("must contain at least one letter (a-z)");
  if (value.find("--") != std::string_view::npos) out.emplace_back("must not contain consecutive hyphens");
  if (value.starts_with('-') || value.ends_with('-')) out.emplace_back("must not begin or end with a hyphen");
  return out;
}

Messages percent(std::string_view value) {
  if (value.size() > 1 && value.back() == '%' && all_of(value.substr(0, value.size() - 1), is_digit)) return {};
  return {rule_message("a valid percent string must be a numeric string followed by an ending '%'", "[0-9]+%",
                       {"1%", "93%"})};
}

Messages http_header_name(std::string_view value) {
  if (!value.empty() && all_of(value, [](char c) { return is_alnum(c) || c == '-'; })) return {};
  return {rule_message("a valid HTTP header must consist of alphanumeric characters or '-'", "[-A-Za-z0-9]+",
                       {"X-Header-Name"})};
}

Messages port_number(std::int64_t value) {
  return value >= 1 && value <= 65535 ? Messages() : Messages{range_message(1, 65535)};
}
Messages id_number(std::int64_t value) {
  constexpr std::int64_t kMax = 2147483647;
  return value >= 0 && value <= kMax ? Messages() : Messages{range_message(0, kMax)};
}

std::optional<std::string> parse_address(std::string_view text) {
  const std::string copy(text);
  char bytes[16];
  if (inet_pton(AF_INET, copy.c_str(), bytes) == 1) {
    for (std::size_t i = 0; i + 1 < copy.size(); ++i) {  // 010 is 8 to some readers and 10 to others
      const bool first = i == 0 || copy[i - 1] == '.';
      if (first && copy[i] == '0' && is_digit(copy[i + 1])) return std::nullopt;
    }
    return std::string(bytes, 4);
  }
  if (inet_pton(AF_INET6, copy.c_str(), bytes) != 1) return std::nullopt;
  static constexpr char kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '\xff', '\xff'};
  if (std::memcmp(bytes, kMapped, sizeof kMapped) == 0) return std::nullopt;
  return std::string(bytes, 16);
}

std::string canonical_address(std::string_view bytes) {
  char buffer[INET6_ADDRSTRLEN] = {};
  inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), buffer, sizeof buffer);
  return buffer;
}

bool is_ipv6(std::string_view text) { return text.find(':') != std::string_view::npos; }

Messages ip_address(std::string_view value) {
  if (parse_address(value)) return {};
  const std::string copy(value);
  char bytes[16];
  if (inet_pton(AF_INET6, copy.c_str(), bytes) == 1) return {"must not be an IPv4-mapped IPv6 address"};
  return {"must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"};
}

Messages canonical_ip_name(std::string_view value) {
  const auto bytes = parse_address(value);
  if (!bytes) return ip_address(value);
  const auto canonical = canonical_address(*bytes);
  return canonical == value ? Messages() : Messages{"must be in canonical form (" + quote(canonical) + ")"};
}

void check_ip(Errors& errors, const Path& path, std::string_view value) {
  check_format(errors, path, value, ip_address);
}

void check_canonical_ip(Errors& errors, const Path& path, std::string_view value) {
  check_format(errors, path, value, canonical_ip_name);
}

void check_cidr(Errors& errors, const Path& path, std::string_view value) {
  const auto slash = value.find('/');
  const auto bytes = parse_address(value.substr(0, slash));
  const auto bits = slash == std::string_view::npos ? std::nullopt : parse_int(value.substr(slash + 1));
  if (!bytes || !bits || *bits < 0 || *bits > static_cast<std::int64_t>(bytes->size()) * 8) {
    return errors.invalid(path, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
  }
  for (std::int64_t bit = *bits; bit < static_cast<std::int64_t>(bytes->size()) * 8; ++bit) {
    if (((*bytes)[static_cast<std::size_t>(bit / 8)] >> (7 - bit % 8) & 1) != 0) {
      return errors.invalid(path, value, "must not have bits set beyond the prefix length");
    }
  }
}

void check_format(Errors& errors, const Path& path, std::string_view value, Format format) {
  errors.invalid_each(path, value, format(value));
}

void check_label_key(Errors& errors, const Path& path, std::string_view key) {
  check_format(errors, path, key, qualified_name);
}

void check_labels(Errors& errors, const Path& path, const Json& labels) {
  if (!labels.is_object()) return;
  for (const auto& [key, value] : labels.items()) {
    check_label_key(errors, path, key);
    check_format(errors, path, str(value), label_value);
  }
}

void check_annotations(Errors& errors, const Path& path, const Json& annotations) {
  constexpr std::size_t kLimit = 256 * 1024;  // all keys and values together
  if (!annotations.is_object()) return;
  std::size_t size = 0;
  for (const auto& [key, value] : annotations.items()) {
    errors.invalid_each(path, key, qualified_name(to_lower(key)));
    size += key.size() + str(value).size();
  }
  if (size > kLimit) errors.too_long(path, kLimit);
}

void check_label_selector(Errors& errors, const Path& path, const Json& selector, bool values) {
  if (!selector.is_object()) return;
  check_labels(errors, path / "matchLabels", at(selector, "matchLabels"));
  std::size_t i = 0;
  for (const Json& expression : items(at(selector, "matchExpressions"))) {
    const Path here = (path / "matchExpressions")[i++];
    const auto op = str(expression, "operator");
    const auto& list = items(at(expression, "values"));
    if (op == "In" || op == "NotIn") {
      if (list.empty()) errors.required(here / "values", "must be specified when `operator` is 'In' or 'NotIn'");
    } else if (op == "Exists" || op == "DoesNotExist") {
      if (!list.empty()) {
        errors.forbidden(here / "values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
      }
    } else {
      errors.invalid(here / "operator", op, "not a valid selector operator");
    }
    check_label_key(errors, here / "key", str(expression, "key"));
    for (std::size_t v = 0; values && v < list.size(); ++v) {
      check_format(errors, (here / "values")[v], str(list[v]), label_value);
    }
  }
}

void check_int_or_percent(Errors& errors, const Path& path, const Json& value) {
  if (value.is_string()) {
    check_format(errors, path, str(value), percent);
  } else {
    check_not_negative(errors, path, value);
  }
}

void check_at_most_100(Errors& errors, const Path& path, const Json& value) {
  const auto text = str(value);
  if (!text.ends_with('%')) return;
  const auto number = parse_int(text.substr(0, text.size() - 1));
  if (number && *number > 100) errors.invalid(path, value, "must not be greater than 100%");
}

}  // namespace brume::api::validation
