// Impersonate-User, -Group, -Uid, -Extra-*: acting as somebody else, each part authorised by itself.
#include "authn.h"
#include "authz.h"
#include "brume/base/strings.h"

namespace brume::apiserver {
namespace {

constexpr std::string_view kExtraPrefix = "impersonate-extra-";
constexpr std::string_view kAccountPrefix = "system:serviceaccount:";

Status allow(const User& user, const Authorizer& authorizer, std::string group, std::string resource,
             std::string subresource, std::string ns, std::string name) {
  Attributes wish;
  wish.user = user;
  wish.verb = "impersonate";
  wish.version = "v1";
  wish.group = std::move(group);
  wish.resource = std::move(resource);
  wish.subresource = std::move(subresource);
  wish.ns = std::move(ns);
  wish.name = std::move(name);
  const Decision decision = authorizer.authorize(wish);
  if (decision.allowed) return {};
  return fail(forbidden_error(wish, decision));
}

/// system:serviceaccount:NAMESPACE:NAME taken apart; empty parts for anything else.
std::pair<std::string, std::string> account_parts(std::string_view name) {
  if (!name.starts_with(kAccountPrefix)) return {};
  const auto rest = name.substr(kAccountPrefix.size());
  const auto colon = rest.find(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == rest.size()) return {};
  if (rest.find(':', colon + 1) != std::string_view::npos) return {};
  return {std::string(rest.substr(0, colon)), std::string(rest.substr(colon + 1))};
}

void add_extra(User& user, const std::string& key, std::string value) {
  for (auto& [name, values] : user.extra) {
    if (name != key) continue;
    values.push_back(std::move(value));
    return;
  }
  user.extra.push_back({key, {std::move(value)}});
}

/// Groups that belong to the name: a service account's own, and the mark of (un)authenticated users.
void add_implied_groups(User& target, const std::pair<std::string, std::string>& account, bool groups_given) {
  if (!account.first.empty() && !groups_given) {
    target.groups = service_account_user(account.first, account.second, "").groups;
  }
  const std::string_view mark = target.name == "system:anonymous" ? "system:unauthenticated" : "system:authenticated";
  if (!target.in_group("system:authenticated") && !target.in_group("system:unauthenticated")) {
    target.groups.emplace_back(mark);
  }
}

}  // namespace

Result<User> impersonate(User user, const http::Headers& headers, const Authorizer& authorizer) {
  User target;
  bool asked = false;
  for (const auto& [name, value] : headers) {
    const std::string lower = to_lower(name);
    if (!lower.starts_with("impersonate-")) continue;
    asked = true;
    if (lower == "impersonate-user")
      target.name = value;
    else if (lower == "impersonate-uid")
      target.uid = value;
    else if (lower == "impersonate-group")
      target.groups.push_back(value);
    else if (lower.starts_with(kExtraPrefix)) {
      const auto key = url_decode(std::string_view(lower).substr(kExtraPrefix.size()), false);
      if (!key || key->empty()) return fail(Code::kBadRequest, "bad impersonation header " + name);
      add_extra(target, *key, value);
    }
  }
  if (!asked) return user;
  if (target.name.empty()) return fail(Code::kBadRequest, "requested impersonation without impersonating a user");

  const auto account = account_parts(target.name);
  if (account.first.empty())
    BRUME_CHECK(allow(user, authorizer, "", "users", "", "", target.name));
  else
    BRUME_CHECK(allow(user, authorizer, "", "serviceaccounts", "", account.first, account.second));
  for (const auto& group : target.groups) BRUME_CHECK(allow(user, authorizer, "", "groups", "", "", group));
  if (!target.uid.empty()) BRUME_CHECK(allow(user, authorizer, "authentication.k8s.io", "uids", "", "", target.uid));
  for (const auto& [key, values] : target.extra) {
    for (const auto& value : values) {
      BRUME_CHECK(allow(user, authorizer, "authentication.k8s.io", "userextras", key, "", value));
    }
  }
  add_implied_groups(target, account, !target.groups.empty());
  return target;
}

}  // namespace brume::apiserver
