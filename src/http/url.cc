#include "url.h"

#include <algorithm>

#include "brume/base/strings.h"

namespace brume::http {

namespace {

std::uint16_t default_port(std::string_view scheme) { return scheme == "https" ? 443 : scheme == "http" ? 80 : 0; }

Status check_characters(std::string_view text, std::string_view whole) {
  const bool clean =
      std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7F; });
  if (clean) return {};
  return fail(Code::kInvalid, "the URL has a space or a control character: " + std::string(whole.substr(0, 200)));
}

Status parse_authority(std::string_view authority, Url& url) {
  if (authority.find('@') != std::string_view::npos) return fail(Code::kInvalid, "a URL with user info is not taken");
  std::string_view port;
  if (authority.starts_with('[')) {
    const auto end = authority.find(']');
    if (end == std::string_view::npos) return fail(Code::kInvalid, "bad IPv6 address in the URL");
    url.host = std::string(authority.substr(1, end - 1));
    const auto rest = authority.substr(end + 1);
    if (!rest.empty() && rest[0] != ':') return fail(Code::kInvalid, "bad host in the URL");
    port = rest.empty() ? rest : rest.substr(1);
  } else {
    const auto colon = authority.find(':');
    url.host = std::string(authority.substr(0, colon));
    if (colon != std::string_view::npos) port = authority.substr(colon + 1);
  }
  if (url.host.empty()) return fail(Code::kInvalid, "the URL has no host");
  url.port = default_port(url.scheme);
  if (!port.empty()) {
    const auto number = parse_int(port);
    if (!number || *number < 1 || *number > 65535) return fail(Code::kInvalid, "bad port in the URL");
    url.port = static_cast<std::uint16_t>(*number);
  }
  return {};
}

}  // namespace

std::string Url::authority() const {
  if (scheme == "unix") return host;
  std::string out = host.find(':') != std::string::npos ? "[" + host + "]" : host;
  if (port != default_port(scheme)) out.append(":").append(std::to_string(port));
  return out;
}

std::string Url::origin() const {
  return scheme == "unix" ? "unix://" + socket_path : scheme + "://" + host + ":" + std::to_string(port);
}

Result<Url> parse_url(std::string_view text) {
  const auto colon = text.find("://");
  if (colon == std::string_view::npos) return fail(Code::kInvalid, "not a URL: " + std::string(text.substr(0, 200)));
  Url url;
  url.scheme = to_lower(text.substr(0, colon));
  auto rest = text.substr(colon + 3);
  if (url.scheme == "unix") {
    const auto bar = rest.find('|');
    url.socket_path = std::string(rest.substr(0, bar));
    url.host = "localhost";
    if (bar != std::string_view::npos) url.target = std::string(rest.substr(bar + 1));
    if (!url.socket_path.starts_with('/')) return fail(Code::kInvalid, "a unix:// URL needs an absolute path");
    if (!url.target.starts_with('/')) url.target.insert(0, "/");
    BRUME_CHECK(check_characters(url.target, text));
    return url;
  }
  if (url.scheme != "http" && url.scheme != "https") {
    return fail(Code::kInvalid, "unsupported URL scheme: " + url.scheme.substr(0, 32));
  }
  BRUME_CHECK(check_characters(rest, text));
  rest = rest.substr(0, rest.find('#'));
  const auto end = rest.find_first_of("/?");
  BRUME_CHECK(parse_authority(rest.substr(0, end), url));
  if (end != std::string_view::npos) url.target = std::string(rest.substr(end));
  if (!url.target.starts_with('/')) url.target.insert(0, "/");
  return url;
}

Result<Url> resolve_redirect(const Url& base, std::string_view location) {
  const auto scheme_end = location.find("://");
  if (scheme_end != std::string_view::npos && location.find_first_of("/?#") > scheme_end) {
    BRUME_TRY(auto url, parse_url(location));
    if (url.scheme == "unix") return fail(Code::kInvalid, "redirect to a unix socket");
    return url;
  }
  if (location.starts_with("//")) return resolve_redirect(base, base.scheme + ":" + std::string(location));
  BRUME_CHECK(check_characters(location, location));
  Url url = base;
  location = location.substr(0, location.find('#'));
  if (location.starts_with('/')) {
    url.target = std::string(location);
  } else {
    const auto path = base.target.substr(0, base.target.find('?'));
    if (location.starts_with('?')) {
      url.target = path + std::string(location);
    } else {
      url.target = path.substr(0, path.rfind('/') + 1) + std::string(location);
    }
  }
  return url;
}

}  // namespace brume::http
