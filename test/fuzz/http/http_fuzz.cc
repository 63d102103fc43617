// Fuzz target: a request head, its target and its query, then the body behind it.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "request_head.h"

using namespace brume::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto path = clean_path(text.starts_with('/') ? std::string(text) : "/" + std::string(text))) {
    if (path->empty() || path->find("//") != std::string::npos || path->find("/../") != std::string::npos ||
        path->ends_with("/..")) {
      std::abort();
    }
  }
  if (const auto query = Query::parse(text)) {
    if (!Query::parse(query->encode())) std::abort();
  }
  for (const auto kind : {Http1Parser::Kind::kRequest, Http1Parser::Kind::kResponse}) {
    Http1Parser parser(kind, 4096);
    std::string body;
    std::string_view rest = text;
    while (!rest.empty() && !parser.done()) {
      const auto used = parser.feed(rest, body);
      if (!used || *used == 0) break;
      rest.remove_prefix(*used);
    }
    if (!parser.head_done() || kind == Http1Parser::Kind::kResponse) continue;
    Request request;
    if (!fill_request(parser, request)) continue;
    // What was taken as a request must mean one thing only.
    if (request.headers.has("Content-Length") && request.headers.has("Transfer-Encoding")) std::abort();
    if (request.path.find('\0') != std::string::npos) std::abort();
  }
  return 0;
}
