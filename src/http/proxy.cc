#include "brume/http/proxy.h"

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/network_v4.hpp>
#include <boost/asio/ip/network_v6.hpp>
#include <cstdlib>

#include "brume/base/strings.h"
#include "url.h"

namespace brume::http {

namespace {

namespace ip = boost::asio::ip;

std::optional<ip::address> address_of(std::string_view text) {
  boost::system::error_code error;
  auto address = ip::make_address(std::string(text), error);
  return error ? std::nullopt : std::optional(address);
}

bool in_network(const ip::address& address, const std::string& cidr) {
  boost::system::error_code error;
  if (address.is_v4()) {
    const auto network = ip::make_network_v4(cidr, error);
    return !error && network.canonical() == ip::network_v4(address.to_v4(), network.prefix_length()).canonical();
  }
  const auto network = ip::make_network_v6(cidr, error);
  return !error && network.canonical() == ip::network_v6(address.to_v6(), network.prefix_length()).canonical();
}

// An entry's port, if it has one, cut off from it. An IPv6 address has more colons than one, or brackets.
std::optional<std::string_view> cut_port(std::string_view& entry) {
  const auto colon = entry.rfind(':');
  const bool bare_v6 = !entry.starts_with('[') && entry.find(':') != colon;
  if (colon == std::string_view::npos || bare_v6 || entry.ends_with(']')) return std::nullopt;
  const std::string_view port = entry.substr(colon + 1);
  entry = entry.substr(0, colon);
  return port;
}

bool names(std::string_view entry, const std::string& host, const std::optional<ip::address>& address,
           std::uint16_t port) {
  if (entry == "*") return true;
  if (address && entry.find('/') != std::string_view::npos) return in_network(*address, std::string(entry));
  if (const auto only = cut_port(entry); only && *only != std::to_string(port)) return false;
  if (entry.starts_with('[') && entry.ends_with(']')) entry = entry.substr(1, entry.size() - 2);
  if (address) return address_of(entry) == address;
  if (entry.starts_with("*.")) entry.remove_prefix(1);
  if (entry.starts_with('.')) return host.ends_with(entry);
  return host == entry || host.ends_with("." + std::string(entry));
}

Result<Proxy> parse_proxy(const std::string& variable, const std::string& value) {
  const auto wrong = [&](const std::string& why) {
    // Without the value: it may hold a password.
    return fail(Code::kInvalid, variable + " is no proxy such as http://proxy.example:3128: " + why);
  };
  std::string text = value.find("://") == std::string::npos ? "http://" + value : value;
  std::string user;
  const auto begin = text.find("://") + 3;
  const auto end = std::min(text.find_first_of("/?#", begin), text.size());
  if (const auto at = text.rfind('@', end); at != std::string::npos && at >= begin) {
    user = text.substr(begin, at - begin);
    text.erase(begin, at + 1 - begin);
  }
  const auto url = parse_url(text);
  if (!url) return wrong(url.error().message);
  if (url->scheme != "http") return wrong("its scheme is not http");
  Proxy proxy{url->host, url->port, {}};
  if (!user.empty()) {
    const auto colon = user.find(':');
    const auto name = url_decode(user.substr(0, colon), false);
    const auto password = url_decode(colon == std::string::npos ? "" : user.substr(colon + 1), false);
    if (!name || !password) return wrong("a bad percent escape in the user name or password");
    proxy.authorization = "Basic " + base64_encode(*name + ":" + *password);
  }
  return proxy;
}

}  // namespace

Result<Proxies> Proxies::from(const std::function<std::optional<std::string>(const std::string& name)>& lookup) {
  const auto value_of = [&](const std::string& name, std::string& variable) -> std::string {
    for (const std::string& spelled : {name, to_lower(name)}) {
      variable = spelled;
      if (auto value = lookup(spelled); value && !value->empty()) return *std::move(value);
    }
    return {};
  };
  Proxies out;
  std::string variable;
  if (const auto value = value_of("HTTP_PROXY", variable); !value.empty()) {
    BRUME_TRY(out.http_, parse_proxy(variable, value));
  }
  if (const auto value = value_of("HTTPS_PROXY", variable); !value.empty()) {
    BRUME_TRY(out.https_, parse_proxy(variable, value));
  }
  for (const std::string_view entry : split(value_of("NO_PROXY", variable), ',')) {
    if (const auto name = trim(entry); !name.empty()) out.direct_.push_back(to_lower(name));
  }
  return out;
}

Result<Proxies> Proxies::from_environment() {
  return from([](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): nobody sets the environment
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  });
}

const Proxy* Proxies::find(bool https, std::string_view host, std::uint16_t port) const {
  const std::optional<Proxy>& proxy = https ? https_ : http_;
  if (!proxy) return nullptr;
  const std::string name = to_lower(host);
  const auto address = address_of(name);
  if (name == "localhost" || (address && address->is_loopback())) return nullptr;
  const bool direct =
      std::ranges::any_of(direct_, [&](const std::string& entry) { return names(entry, name, address, port); });
  return direct ? nullptr : &*proxy;
}

}  // namespace brume::http
