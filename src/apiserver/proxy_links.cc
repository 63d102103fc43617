#include "proxy_links.h"

#include <algorithm>
#include <array>
#include <optional>

#include "brume/base/strings.h"

namespace brume::apiserver {

namespace {

/// Tags and their attributes whose values are one link each, after HTML's table of attributes.
struct LinkAttribute {
  std::string_view tag, attribute;
};
constexpr auto kLinkAttributes = std::to_array<LinkAttribute>({
    {"a", "href"},          {"area", "href"},       {"audio", "src"},         {"base", "href"},
    {"blockquote", "cite"}, {"body", "background"}, {"button", "formaction"}, {"command", "icon"},
    {"del", "cite"},        {"embed", "src"},       {"form", "action"},       {"frame", "src"},
    {"frame", "longdesc"},  {"head", "profile"},    {"html", "manifest"},     {"iframe", "src"},
    {"iframe", "longdesc"}, {"img", "src"},         {"img", "longdesc"},      {"img", "usemap"},
    {"input", "src"},       {"input", "usemap"},    {"input", "formaction"},  {"ins", "cite"},
    {"link", "href"},       {"object", "classid"},  {"object", "codebase"},   {"object", "data"},
    {"object", "usemap"},   {"q", "cite"},          {"script", "src"},        {"source", "src"},
    {"video", "poster"},    {"video", "src"},
});

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool holds_link(std::string_view tag, std::string_view attribute) {
  return std::any_of(kLinkAttributes.begin(), kLinkAttributes.end(), [&](const LinkAttribute& known) {
    return iequals(known.tag, tag) && iequals(known.attribute, attribute);
  });
}

// The content of these is no markup: only their own end tag ends it.
bool is_raw_text(std::string_view tag) {
  constexpr auto kRaw = std::to_array<std::string_view>({"script", "style", "textarea", "title", "xmp"});
  return std::any_of(kRaw.begin(), kRaw.end(), [&](std::string_view known) { return iequals(known, tag); });
}

/// Copies a page, tag by tag.
class PageCopier {
 public:
  PageCopier(const ProxyLinks& links, std::string_view page) : links_(links), page_(page) {}

  std::string copy() {
    out_.reserve(page_.size() + page_.size() / 8);
    while (at_ < page_.size()) {
      const auto open = page_.find('<', at_);
      take(open);
      if (open == std::string_view::npos) break;
      if (page_.substr(at_).starts_with("<!--")) {
        const auto end = page_.find("-->", at_);
        take(end == std::string_view::npos ? end : end + 3);
      } else if (at_ + 1 < page_.size() && is_letter(page_[at_ + 1])) {
        copy_tag();
      } else {
        take(at_ + 1);
      }
    }
    return std::move(out_);
  }

 private:
  // Copies up to `end` as it is.
  void take(std::size_t end) {
    const auto piece = page_.substr(at_, end == std::string_view::npos ? end : end - at_);
    out_ += piece;
    at_ += piece.size();
  }

  template <typename Test>
  std::string_view take_while(Test test) {
    const auto begin = at_;
    auto end = at_;
    while (end < page_.size() && test(page_[end])) ++end;
    take(end);
    return page_.substr(begin, end - begin);
  }

  void copy_tag() {
    take(at_ + 1);
    const auto tag = take_while([](char c) { return !is_space(c) && c != '/' && c != '>'; });
    for (;;) {
      take_while([](char c) { return is_space(c) || c == '/'; });
      if (at_ >= page_.size()) return;
      if (page_[at_] == '>') break;
      copy_attribute(tag);
    }
    take(at_ + 1);
    if (is_raw_text(tag)) skip_to_end_of(tag);
  }

  void copy_attribute(std::string_view tag) {
    take(at_ + 1);  // a name's first character may be anything, even "="
    const auto begin = at_ - 1;
    take_while([](char c) { return !is_space(c) && c != '/' && c != '>' && c != '='; });
    const auto name = page_.substr(begin, at_ - begin);
    take_while(is_space);
    if (at_ >= page_.size() || page_[at_] != '=') return;
    take(at_ + 1);
    take_while(is_space);
    if (at_ >= page_.size()) return;
    const char quote = page_[at_];
    if (quote != '"' && quote != '\'') {
      copy_value(tag, name, std::min(page_.size(), page_.find_first_of(" \t\n\r\f>", at_)));
      return;
    }
    const auto end = page_.find(quote, at_ + 1);
    if (end == std::string_view::npos) return take(end);
    take(at_ + 1);
    copy_value(tag, name, end);
    take(at_ + 1);
  }

  void copy_value(std::string_view tag, std::string_view name, std::size_t end) {
    const auto value = page_.substr(at_, end - at_);
    out_ += holds_link(tag, name) ? links_.rewrite(value) : std::string(value);
    at_ = end;
  }

  void skip_to_end_of(std::string_view tag) {
    for (auto open = page_.find("</", at_); open != std::string_view::npos; open = page_.find("</", open + 2)) {
      if (iequals(page_.substr(open + 2, tag.size()), tag)) return take(open);
    }
    take(std::string_view::npos);
  }

  const ProxyLinks& links_;
  std::string_view page_;
  std::size_t at_ = 0;
  std::string out_;
};

// What follows the host in a link to one of the proxy's hosts; nullopt for every other link.
std::optional<std::string_view> path_of(const ProxyLinks& links, std::string_view link) {
  if (link.starts_with('/') && !link.starts_with("//")) return link;
  const auto colon = link.find("//");
  const auto scheme = link.substr(0, std::min(colon, link.size()));
  if (colon == std::string_view::npos || (!scheme.empty() && !iequals(scheme, "http:") && !iequals(scheme, "https:"))) {
    return std::nullopt;
  }
  const auto rest = link.substr(colon + 2);
  const auto slash = rest.find('/');
  const auto host = rest.substr(0, slash);
  if (slash == std::string_view::npos || host.empty()) return std::nullopt;
  if (host != links.backend_host && host != links.request_host) return std::nullopt;
  return rest.substr(slash);
}

}  // namespace

std::string ProxyLinks::rewrite(std::string_view link) const {
  const auto path = path_of(*this, link);
  if (!path) return std::string(link);
  const auto rest = path->starts_with(prefix) ? path->substr(prefix.size()) : std::string_view("x");
  const bool prefixed = rest.empty() || rest.starts_with('/') || rest.starts_with('?') || rest.starts_with('#');
  return prefixed ? std::string(*path) : std::string(prefix) + std::string(*path);
}

std::string ProxyLinks::rewrite_html(std::string_view page) const { return PageCopier(*this, page).copy(); }

}  // namespace brume::apiserver
