#include "reviews.h"

#include <algorithm>
#include <array>

#include "admission/node_restriction.h"
#include "brume/base/json.h"
#include "brume/base/task.h"

namespace brume::apiserver {
namespace {

constexpr std::array<std::string_view, 6> kReviews = {
    "subjectaccessreviews", "localsubjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews",
    "tokenreviews",         "selfsubjectreviews"};

Json user_info(const User& user) {
  Json info = {{"username", user.name}, {"groups", user.groups}};
  if (!user.uid.empty()) info["uid"] = user.uid;
  for (const auto& [key, values] : user.extra) info["extra"][key] = values;
  return info;
}

/// The subject that a SubjectAccessReview's spec names.
User subject_of(const Json& spec) {
  User user;
  user.name = str(spec, "user");
  user.uid = str(spec, "uid");
  if (at(spec, "groups").is_array()) {
    for (const auto& group : at(spec, "groups")) user.groups.emplace_back(str(group));
  }
  for (const auto& [key, values] : at(spec, "extra").items()) {
    std::vector<std::string> list;
    for (const auto& value : values) list.emplace_back(str(value));
    user.extra.emplace_back(key, std::move(list));
  }
  return user;
}

Attributes attributes_of(const Json& spec, const User& subject) {
  Attributes wish;
  wish.user = subject;
  const Json& path = at(spec, "nonResourceAttributes");
  if (path.is_object()) {
    wish.is_resource = false;
    wish.verb = str(path, "verb");
    wish.path = str(path, "path");
    return wish;
  }
  const Json& resource = at(spec, "resourceAttributes");
  wish.verb = str(resource, "verb");
  wish.group = str(resource, "group");
  wish.version = str(resource, "version");
  wish.resource = str(resource, "resource");
  wish.subresource = str(resource, "subresource");
  wish.ns = str(resource, "namespace");
  wish.name = str(resource, "name");
  const Json& requirements = at(resource, "fieldSelector", "requirements");
  if (requirements.is_array()) {
    wish.field_selector.emplace();
    for (const auto& one : requirements) {
      const Json& values = at(one, "values");
      if (str(one, "operator") != "In" || !values.is_array() || values.size() != 1) continue;
      if (!wish.field_selector->empty()) wish.field_selector->push_back(',');
      wish.field_selector->append(str(one, "key")).append("=").append(str(values[0]));
    }
  } else if (!str(at(resource, "fieldSelector"), "rawSelector").empty()) {
    wish.field_selector = str(at(resource, "fieldSelector"), "rawSelector");
  }
  return wish;
}

std::unexpected<Error> invalid(const Json& body, std::string field, const std::string& detail, std::string reason) {
  const std::string head = reason == "FieldValueRequired" ? "Required value: " : "Invalid value: ";
  return fail(
      Error{Code::kInvalid,
            std::string(str(body, "kind")) + ".authorization.k8s.io \"\" is invalid: " + field + ": " + head + detail,
            {Cause{std::move(reason), head + detail, field}}});
}

bool empty_wish(const Json& spec) {
  return at(spec, "resourceAttributes").is_object() == at(spec, "nonResourceAttributes").is_object();
}

}  // namespace

bool ReviewService::handles(const api::Resource& resource, std::string_view subresource) const {
  if (resource.group.empty() && resource.plural == "serviceaccounts") return subresource == "token";
  if (resource.group != "authorization.k8s.io" && resource.group != "authentication.k8s.io") return false;
  return subresource.empty() && std::ranges::find(kReviews, resource.plural) != kReviews.end();
}

Result<Json> ReviewService::subject_access(Json body, const User& subject) const {
  if (empty_wish(at(body, "spec"))) {
    return invalid(body, "spec.resourceAttributes",
                   "exactly one of nonResourceAttributes or resourceAttributes must be specified", "FieldValueInvalid");
  }
  const Decision decision = authorizer_.authorize(attributes_of(at(body, "spec"), subject));
  body["status"] = {{"allowed", decision.allowed}};
  if (!decision.reason.empty()) body["status"]["reason"] = decision.reason;
  return body;
}

Result<Json> ReviewService::other_subject_access(Json body) const {
  const User subject = subject_of(at(body, "spec"));
  if (subject.name.empty() && subject.groups.empty()) {
    return invalid(body, "spec.user", "at least one of user or group must be specified", "FieldValueRequired");
  }
  return subject_access(std::move(body), subject);
}

Result<Json> ReviewService::rules(Json body, const User& user) const {
  const std::string ns(str(at(body, "spec"), "namespace"));
  if (ns.empty()) return fail(Code::kBadRequest, "no namespace on request");
  Json resource_rules = Json::array();
  Json path_rules = Json::array();
  for (const auto& rule : authorizer_.rules_for(user, ns)) {
    Json one = rules_to_json({rule})[0];
    (rule.non_resource_urls.empty() ? resource_rules : path_rules).push_back(std::move(one));
  }
  const bool node = !node_name_of(user).empty();
  body["status"] = {{"resourceRules", resource_rules}, {"nonResourceRules", path_rules}, {"incomplete", node}};
  if (node) body["status"]["evaluationError"] = "node authorizer does not support user rule resolution";
  return body;
}

Result<Json> ReviewService::token_review(Json body) const {
  const std::string token(str(at(body, "spec"), "token"));
  if (token.empty()) return fail(Code::kBadRequest, "token is required for TokenReview in authentication");
  std::vector<std::string> audiences;
  if (at(body, "spec", "audiences").is_array()) {
    for (const auto& one : at(body, "spec", "audiences")) audiences.emplace_back(str(one));
  }
  const auto verified = authenticator_.identify_token(token, audiences);
  if (!verified) {
    body["status"] = {{"authenticated", false}, {"user", Json::object()}, {"error", verified.error().message}};
  } else {
    body["status"] = {{"authenticated", true}, {"user", user_info(verified->user)}, {"audiences", verified->audiences}};
  }
  return body;
}

Result<Json> ReviewService::answer(const api::Resource& resource, std::string_view subresource, const std::string& ns,
                                   const std::string& name, Json body, const User& user) const {
  if (!body.is_object()) return fail(Code::kBadRequest, "the body is not an object");
  if (subresource == "token") {
    BRUME_CHECK(check_node_token_request(user, ns, body, objects_));
    return tokens_.issue(ns, name, std::move(body));
  }
  body["apiVersion"] = resource.api_version();
  body["kind"] = resource.kind;
  if (!body.contains("metadata")) body["metadata"] = Json::object();
  if (resource.plural == "subjectaccessreviews") return other_subject_access(std::move(body));
  if (resource.plural == "localsubjectaccessreviews") {
    if (str(at(body, "spec", "resourceAttributes"), "namespace") != ns) {
      return fail(Code::kBadRequest, "spec.resourceAttributes.namespace must match namespace: " + ns);
    }
    return other_subject_access(std::move(body));
  }
  if (resource.plural == "selfsubjectaccessreviews") return subject_access(std::move(body), user);
  if (resource.plural == "selfsubjectrulesreviews") return rules(std::move(body), user);
  if (resource.plural == "tokenreviews") return token_review(std::move(body));
  body["status"] = {{"userInfo", user_info(user)}};
  return body;
}

Task<Result<Json>> ReviewService::create(const api::Resource& resource, std::string subresource, std::string ns,
                                         std::string name, Json body, User user) {
  co_return answer(resource, subresource, ns, name, std::move(body), user);
}

}  // namespace brume::apiserver
