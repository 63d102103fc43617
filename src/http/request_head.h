// From a parsed head to a Request: the checks that keep ambiguous requests out.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "brume/base/result.h"
#include "brume/http/message.h"
#include "http1_parser.h"

namespace brume::http {

/// `path` percent-decoded, with "//", "/./" and "/../" resolved (a trailing slash stays); nullopt for a bad escape or a
/// NUL. ".." above the root stays at the root.
std::optional<std::string> clean_path(std::string_view path);

/// Fills method, target, path, query and headers of `request` from `parser`, whose head is done. kBadRequest for
/// request smuggling shapes, a missing or repeated Host, a bad target or escape.
Status fill_request(Http1Parser& parser, Request& request);

/// Appends status line, `headers` and, unless `length` is nullopt, Content-Length. Bytes that would break the framing
/// (CR, LF, NUL) are blanked in values and the field dropped if they are in its name.
void append_response_head(std::string& out, int status, const Headers& headers);
void append_header(std::string& out, std::string_view name, std::string_view value);
/// The reason phrase of RFC 9110; "Status" for what it does not know.
std::string_view reason_phrase(int status);
/// Date field of now, kept for a second (per thread).
std::string_view http_date();

}  // namespace brume::http
