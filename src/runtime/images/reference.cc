// Image references, in the grammar of the distribution project (docker.io defaults included).
#include <algorithm>

#include "brume/base/strings.h"
#include "brume/runtime/images.h"

namespace brume::runtime {

namespace {

constexpr std::string_view kDefaultRegistry = "docker.io";
constexpr std::size_t kMaxNameLength =
    255;  // of repository and registry together, as the grammar's reference parser has it
constexpr std::size_t kMaxTagLength = 128;

bool is_lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_alnum(char c) { return is_lower_alnum(c) || (c >= 'A' && c <= 'Z'); }

// path-component: alphanumerics joined by one '.', one or two '_', or any number of '-'.
bool is_path_component(std::string_view text) {
  if (text.empty() || !is_lower_alnum(text.front()) || !is_lower_alnum(text.back())) return false;
  for (std::size_t i = 0; i < text.size();) {
    if (is_lower_alnum(text[i])) {
      ++i;
      continue;
    }
    const char c = text[i];
    std::size_t run = 0;
    while (i + run < text.size() && text[i + run] == c) ++run;
    if (!(c == '-' || (c == '.' && run == 1) || (c == '_' && run <= 2))) return false;
    i += run;
    if (!is_lower_alnum(text[i])) return false;
  }
  return true;
}

bool is_tag(std::string_view text) {
  return !text.empty() && text.size() <= kMaxTagLength && (is_alnum(text.front()) || text.front() == '_') &&
         std::ranges::all_of(text, [](char c) { return is_alnum(c) || c == '_' || c == '.' || c == '-'; });
}

bool is_digest(std::string_view text) {
  constexpr std::string_view kSha256 = "sha256:";
  return text.starts_with(kSha256) && text.size() == kSha256.size() + 64 &&
         std::ranges::all_of(text.substr(kSha256.size()),
                             [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_host(std::string_view text) {
  const auto colon = text.rfind(':');
  const std::string_view host = text.substr(0, colon);
  if (colon != std::string_view::npos && !text.ends_with(']')) {
    const auto port = parse_int(text.substr(colon + 1));
    if (!port || *port < 1 || *port > 65535) return false;
  }
  if (host.starts_with('[')) return host.ends_with(']') && host.size() > 3;
  return !host.empty() && std::ranges::all_of(host, [](char c) { return is_alnum(c) || c == '.' || c == '-'; });
}

// Whether the first path part names a host, as docker decides it.
bool looks_like_host(std::string_view part) {
  return part.find_first_of(".:") != std::string_view::npos || part == "localhost" ||
         std::ranges::any_of(part, [](char c) { return c >= 'A' && c <= 'Z'; });
}

std::unexpected<Error> invalid(std::string_view text, std::string_view why) {
  return fail(Code::kInvalid,
              "couldn't parse image name \"" + std::string(text) + "\": invalid reference format: " + std::string(why));
}

}  // namespace

Result<ImageReference> ImageReference::parse(std::string_view text) {
  ImageReference out;
  std::string_view rest = text;
  if (rest.empty()) return invalid(text, "it is empty");
  if (const auto at = rest.find('@'); at != std::string_view::npos) {
    if (!is_digest(rest.substr(at + 1))) return invalid(text, "the digest is not sha256: and 64 hex digits");
    out.digest = rest.substr(at + 1);
    rest = rest.substr(0, at);
  }
  if (const auto colon = rest.rfind(':');
      colon != std::string_view::npos && rest.find('/', colon) == std::string_view::npos) {
    if (!is_tag(rest.substr(colon + 1))) return invalid(text, "the tag is not valid");
    out.tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
  }
  const auto slash = rest.find('/');
  if (slash != std::string_view::npos && looks_like_host(rest.substr(0, slash))) {
    out.registry = rest.substr(0, slash);
    rest = rest.substr(slash + 1);
    if (!is_host(out.registry)) return invalid(text, "the registry's host is not valid");
    if (out.registry == "index.docker.io") out.registry = kDefaultRegistry;
  } else {
    out.registry = kDefaultRegistry;
  }
  for (const auto part : split(rest, '/')) {
    if (is_path_component(part)) continue;
    const bool upper = std::ranges::any_of(part, [](char c) { return c >= 'A' && c <= 'Z'; });
    return invalid(text,
                   upper ? "the repository name must be lower-case" : "a part of the repository name is not valid");
  }
  out.repository = rest;
  if (out.registry == kDefaultRegistry && rest.find('/') == std::string_view::npos)
    out.repository = "library/" + out.repository;
  if (out.repository.size() + out.registry.size() > kMaxNameLength)
    return invalid(text, "it is longer than 255 characters");
  if (out.tag.empty() && out.digest.empty()) out.tag = "latest";
  return out;
}

std::string ImageReference::name() const {
  std::string text = registry + "/" + repository;
  if (!tag.empty()) text += ":" + tag;
  if (!digest.empty()) text += "@" + digest;
  return text;
}

}  // namespace brume::runtime
