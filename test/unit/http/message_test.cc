#include "brume/http/message.h"

#include "catch.h"
#include "request_head.h"
#include "url.h"

using namespace brume;
using namespace brume::http;

namespace {

Result<Request> parse_request(std::string_view text) {
  Http1Parser parser(Http1Parser::Kind::kRequest, 4096);
  std::string body;
  Request request;
  while (!parser.head_done()) {
    BRUME_TRY(const auto used, parser.feed(text, body));
    if (used == 0) return fail(Code::kTimeout, "incomplete");
    text.remove_prefix(used);
  }
  BRUME_CHECK(fill_request(parser, request));
  return request;
}

}  // namespace

TEST_CASE("header names compare without case, lists by token") {
  Headers headers{{"Connection", "keep-alive, Upgrade"}, {"X", "1"}, {"x", "2"}};
  CHECK(headers.get("CONNECTION") == "keep-alive, Upgrade");
  CHECK(headers.has_token("connection", "upgrade"));
  CHECK_FALSE(headers.has_token("connection", "up"));
  CHECK(headers.get_all("x").size() == 2);
  headers.set("X", "3");
  CHECK(headers.get_all("x").size() == 1);
  headers.remove("x");
  CHECK_FALSE(headers.has("X"));
}

TEST_CASE("query parameters are decoded and encoded") {
  const auto query = Query::parse("labelSelector=a%3Db&watch=1&command=sh&command=-c&x=a+b&flag");
  REQUIRE(query);
  CHECK(query->get("labelSelector") == "a=b");
  CHECK(query->is_true("watch"));
  CHECK(query->get_all("command").size() == 2);
  CHECK(query->get("x") == "a b");
  CHECK(query->has("flag"));
  CHECK_FALSE(Query::parse("a=%zz"));
  CHECK(Query::parse(query->encode())->get("labelSelector") == "a=b");
}

TEST_CASE("paths are cleaned after decoding") {
  CHECK(clean_path("/api/v1/pods") == "/api/v1/pods");
  CHECK(clean_path("/api//v1/./pods/") == "/api/v1/pods/");
  CHECK(clean_path("/a/../../etc") == "/etc");
  CHECK(clean_path("/a/%2e%2e/b") == "/b");
  CHECK(clean_path("/a/..%2fb") == "/b");
  CHECK(clean_path("/a/..") == "/");
  CHECK(clean_path("/.well-known") == "/.well-known");
  CHECK_FALSE(clean_path("/a%00b"));
  CHECK_FALSE(clean_path("/a%4"));
}

TEST_CASE("requests that two parsers may read differently are refused") {
  CHECK(parse_request("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"));
  CHECK(parse_request("GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n")->path == "/a");
  const auto refused = [](std::string_view text) {
    const auto request = parse_request(text);
    return !request && request.error().code == Code::kBadRequest;
  };
  CHECK(refused("GET / HTTP/1.1\r\n\r\n"));
  CHECK(refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"));
  CHECK(refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"));
  CHECK(refused("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"));
  CHECK(refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"));
  CHECK(refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n"));
  CHECK(refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n"));
  CHECK(refused("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"));
  CHECK(refused("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"));
  CHECK(refused("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n"));
  CHECK(refused("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n"));
  CHECK(refused("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
  CHECK(refused(std::string_view("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 28)));
  CHECK(refused("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n"));
  CHECK(refused("GET /?a=%g HTTP/1.1\r\nHost: a\r\n\r\n"));
  CHECK(refused("GET foo HTTP/1.1\r\nHost: a\r\n\r\n"));
  CHECK(refused("GET / HTTP/3.7\r\nHost: a\r\n\r\n"));
  CHECK(refused("\x16\x03\x01 / HTTP/1.1\r\nHost: a\r\n\r\n"));
}

TEST_CASE("header values cannot end their line") {
  std::string out;
  append_header(out, "X", "a\r\nSet-Cookie: b");
  append_header(out, "Y\r\nZ", "c");
  CHECK(out == "X: a  Set-Cookie: b\r\n");
}

TEST_CASE("client URLs") {
  CHECK(parse_url("https://Example.org")->port == 443);
  CHECK(parse_url("http://[::1]:8080/a?b#c")->authority() == "[::1]:8080");
  CHECK(parse_url("http://[::1]:8080/a?b#c")->target == "/a?b");
  CHECK(parse_url("unix:///run/a.sock|/v1")->socket_path == "/run/a.sock");
  CHECK(parse_url("unix:///run/a.sock|/v1")->target == "/v1");
  CHECK_FALSE(parse_url("ftp://a/"));
  CHECK_FALSE(parse_url("http://user@a/"));
  CHECK_FALSE(parse_url("http://a:99999/"));
  CHECK_FALSE(parse_url("http://a/b c"));
  CHECK_FALSE(parse_url("http://a/b\r\nX: y"));
  const auto base = *parse_url("https://a:1/x/y?z");
  CHECK(resolve_redirect(base, "/q")->target == "/q");
  CHECK(resolve_redirect(base, "w")->target == "/x/w");
  CHECK(resolve_redirect(base, "//b/c")->origin() == "https://b:443");
  CHECK(resolve_redirect(base, "http://b/c")->origin() == "http://b:80");
  CHECK_FALSE(resolve_redirect(base, "unix:///etc/x|/"));
}
