#include "request_head.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <vector>

#include "brume/base/strings.h"

namespace brume::http {

std::optional<std::string> clean_path(std::string_view path) {
  auto decoded = url_decode(path, false);
  if (!decoded || decoded->find('\0') != std::string::npos) return std::nullopt;
  // The usual path is clean already: no copy, no vector.
  if (decoded->find("//") == std::string::npos && decoded->find("/.") == std::string::npos) return decoded;
  std::vector<std::string_view> kept;
  const auto parts = split(std::string_view(*decoded).substr(1), '/');
  for (const auto part : parts) {
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (!kept.empty()) kept.pop_back();
    } else {
      kept.push_back(part);
    }
  }
  std::string out;
  for (const auto part : kept) out.append("/").append(part);
  const auto last = parts.back();
  if (out.empty() || last.empty() || last == "." || last == "..") out += '/';
  return out;
}

namespace {

Status check_framing(Http1Parser& parser) {
  const auto& head = parser.head();
  int hosts = 0;
  int lengths = 0;
  for (const auto& [name, value] : head.headers) {
    if (iequals(name, "Host")) ++hosts;
    if (iequals(name, "Content-Length")) {
      // "3, 3" is the same length to some and an error to others.
      if (!std::ranges::all_of(value, [](char c) { return c >= '0' && c <= '9'; })) {
        return fail(Code::kBadRequest, "bad Content-Length");
      }
      ++lengths;
    }
    if (!iequals(name, "Transfer-Encoding")) continue;
    // Anything but a plain "chunked" is where two parsers may disagree on where the request ends.
    if (!iequals(trim(value), "chunked") || head.version < 11) {
      return fail(Code::kBadRequest, "unsupported transfer encoding");
    }
    if (!parser.chunked()) return fail(Code::kBadRequest, "unsupported transfer encoding");
  }
  if (lengths > 1) return fail(Code::kBadRequest, "more than one Content-Length");
  if (parser.chunked() && lengths > 0) {
    return fail(Code::kBadRequest, "both Content-Length and Transfer-Encoding");
  }
  if (hosts > 1) return fail(Code::kBadRequest, "more than one Host header");
  if (hosts == 0 && head.version >= 11) return fail(Code::kBadRequest, "missing required Host header");
  return {};
}

// origin-form, absolute-form (a client that believes us to be a proxy) or "*" (RFC 9112 section 3.2), as origin-form.
Result<std::string_view> origin_form(std::string_view method, std::string_view target) {
  if (target.starts_with('/')) return target;
  if (target == "*" && method == "OPTIONS") return target;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (target.size() < scheme.size() || !iequals(target.substr(0, scheme.size()), scheme)) continue;
    const auto rest = target.substr(scheme.size());
    const auto slash = rest.find_first_of("/?");
    if (slash == std::string_view::npos) return std::string_view("/");
    if (rest[slash] == '/') return rest.substr(slash);
  }
  return fail(Code::kBadRequest, "the request target is not a path");
}

}  // namespace

Status fill_request(Http1Parser& parser, Request& request) {
  BRUME_CHECK(check_framing(parser));
  auto& head = parser.head();
  BRUME_TRY(const std::string_view target, origin_form(head.method, head.target));
  const auto mark = target.find('?');
  if (target.find('#') != std::string_view::npos) return fail(Code::kBadRequest, "the request target has a fragment");
  auto path = clean_path(target.substr(0, mark));
  if (!path) return fail(Code::kBadRequest, "bad escape in the request path");
  auto query = Query::parse(mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1));
  if (!query) return fail(Code::kBadRequest, "bad escape in the query");
  request.path = std::move(*path);
  request.query = std::move(*query);
  request.target = std::string(target);
  request.method = std::move(head.method);
  request.headers = std::move(head.headers);
  return {};
}

void append_header(std::string& out, std::string_view name, std::string_view value) {
  constexpr std::string_view kBreaking("\r\n\0", 3);
  if (name.empty() || name.find_first_of(kBreaking) != std::string_view::npos ||
      name.find_first_of(": ") != std::string_view::npos) {
    return;
  }
  out.append(name).append(": ");
  const auto at = out.size();
  out.append(value);
  if (value.find_first_of(kBreaking) != std::string_view::npos) {
    std::replace_if(
        out.begin() + static_cast<std::ptrdiff_t>(at), out.end(),
        [&](char c) { return kBreaking.find(c) != std::string_view::npos; }, ' ');
  }
  out.append("\r\n");
}

void append_response_head(std::string& out, int status, const Headers& headers) {
  out.append("HTTP/1.1 ").append(std::to_string(status)).append(" ").append(reason_phrase(status)).append("\r\n");
  for (const auto& [name, value] : headers) append_header(out, name, value);
  if (!headers.has("Date")) append_header(out, "Date", http_date());
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Content";
    case 426: return "Upgrade Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    default: return "Status";
  }
}

std::string_view http_date() {
  thread_local std::time_t made_at = 0;
  thread_local std::array<char, 40> text{};
  const auto now = std::time(nullptr);
  if (now != made_at) {
    made_at = now;
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  }
  return text.data();
}

}  // namespace brume::http
