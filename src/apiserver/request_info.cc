#include "request_info.h"

#include "brume/base/strings.h"

namespace brume::apiserver {

namespace {

std::vector<std::string_view> segments_of(std::string_view path) {
  while (path.starts_with('/')) path.remove_prefix(1);
  while (path.ends_with('/')) path.remove_suffix(1);
  return path.empty() ? std::vector<std::string_view>() : split(path, '/');
}

std::string_view verb_of(std::string_view method) {
  if (method == "POST") return "create";
  if (method == "GET" || method == "HEAD") return "get";
  if (method == "PUT") return "update";
  if (method == "PATCH") return "patch";
  if (method == "DELETE") return "delete";
  return "";
}

bool wants_watch(const http::Query& query) {
  return query.has("watch") && query.get("watch") != "false" && query.get("watch") != "0";
}

// The name in fieldSelector=metadata.name=x, which authorisation takes for the request's name.
std::string selected_name(std::string_view selector) {
  for (std::string_view term : split(selector, ',')) {
    if (!term.starts_with("metadata.name=")) continue;
    term.remove_prefix(14);
    if (term.starts_with('=')) term.remove_prefix(1);
    if (term.find_first_of("/\\%") == std::string_view::npos && term != "." && term != "..") return std::string(term);
  }
  return {};
}

}  // namespace

RequestInfo request_info(const http::Request& request) {
  RequestInfo info;
  info.path = request.path;
  info.verb = to_lower(request.method);
  auto parts = segments_of(request.path);
  if (parts.size() < 3 || (parts[0] != "api" && parts[0] != "apis")) return info;
  const bool core = parts[0] == "api";
  if (!core && parts.size() < 4) return info;
  if (!core) info.group = parts[1];
  parts.erase(parts.begin(), parts.begin() + (core ? 1 : 2));
  info.is_resource = true;
  info.version = parts[0];
  parts.erase(parts.begin());
  if (parts[0] == "watch" || parts[0] == "proxy") {
    if (parts.size() < 2) {
      info.bad = true;
      return info;
    }
    info.verb = parts[0];
    parts.erase(parts.begin());
  } else {
    info.verb = verb_of(request.method);
  }
  if (parts[0] == "namespaces" && parts.size() > 1) {
    info.ns = parts[1];
    if (parts.size() > 2 && parts[2] != "status" && parts[2] != "finalize")
      parts.erase(parts.begin(), parts.begin() + 2);
  }
  info.resource = parts[0];
  if (parts.size() > 1) info.name = parts[1];
  if (parts.size() > 2) info.subresource = parts[2];
  for (std::size_t i = 3; i < parts.size(); ++i) info.rest.append(i > 3 ? "/" : "").append(parts[i]);
  if (info.name.empty() && info.verb == "get") {
    info.verb = wants_watch(request.query) ? "watch" : "list";
    info.name = selected_name(request.query.get("fieldSelector"));
  } else if (info.name.empty() && info.verb == "delete") {
    info.verb = "deletecollection";
  }
  return info;
}

}  // namespace brume::apiserver
