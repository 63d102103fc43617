// Sub-resources that are created: pods/binding, and those that Reviews computes; pods/eviction is registry_eviction.cc.
#include "brume/api/edit.h"
#include "brume/api/projection.h"
#include "brume/apiserver/registry.h"
#include "brume/base/task.h"
#include "errors.h"
#include "registry_impl.h"

namespace brume::apiserver {

using Impl = Registry::Impl;

namespace {

Json success() {
  return Json{{"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", Json::object()}, {"status", "Success"}};
}

// The stored bytes of the pod with the node's name in it; the errors are conflicts, as the scheduler expects them. Of
// the pod, which may be large, only what binding reads and writes becomes a DOM: each pod comes by here.
Result<std::string> bound(const api::Object& pod, const Json& binding, WallTime now) {
  static const api::Projection kRead(
      {"metadata.annotations", "metadata.labels", "spec.nodeName", "spec.schedulingGates", "status"});
  const api::Resource& pods = api::res("pods");
  const std::string& name = pod.name();
  const auto refuse = [&](const std::string& why) {
    return fail(Code::kConflict, "Operation cannot be fulfilled on pods/binding " + go_quote(name) + ": " + why);
  };
  const Json& wanted = at(binding, "metadata");
  if (const auto uid = str(wanted, "uid"); !uid.empty() && uid != pod.uid()) {
    return fail(conflict(
        pods, name,
        "Precondition failed: UID in precondition: " + std::string(uid) + ", UID in object meta: " + pod.uid()));
  }
  if (const auto revision = str(wanted, "resourceVersion");
      !revision.empty() && revision != std::to_string(pod.resource_version())) {
    return fail(modified(pods, name));
  }
  if (pod.deleting()) return refuse("pod " + name + " is being deleted, cannot be assigned to a host");
  Json read = kRead.parse(pod.bytes());
  if (const auto node = str(at(read, "spec"), "nodeName"); !node.empty()) {
    return refuse("pod " + name + " is already assigned to node " + go_quote(node));
  }
  if (!at(read, "spec", "schedulingGates").empty())
    return refuse("pod " + name + " has non-empty .spec.schedulingGates");
  std::vector<api::MemberEdit> edits{{"metadata.resourceVersion", ""},
                                     {"spec.nodeName", dump_json(at(binding, "target", "name"))}};
  for (const auto& [key, path] : {std::pair("annotations", "metadata.annotations"), {"labels", "metadata.labels"}}) {
    if (at(wanted, key).empty()) continue;
    Json& merged = read["metadata"][key];
    for (const auto& [label, value] : at(wanted, key).items()) merged[label] = value;
    edits.push_back({path, dump_json(merged)});
  }
  Json& status = read["status"];
  status.erase("nominatedNodeName");
  set_condition(status, "PodScheduled", "True", "", "", now);
  edits.push_back({"status", dump_json(status)});
  return api::edit_members(pod.bytes(), edits);
}

}  // namespace

Task<Status> Impl::admit(std::string_view subresource, const std::string& ns, const std::string& name, Json& body,
                         const WriteContext& context) {
  if (admission == nullptr) co_return Status{};
  AdmissionRequest request{.resource = &api::res("pods"),
                           .subresource = std::string(subresource),
                           .ns = ns,
                           .name = name,
                           .object = &body,
                           .user = context.user,
                           .dry_run = context.dry_run,
                           .warnings = context.warnings};
  BRUME_CO_CHECK(co_await admission->mutate(request));
  co_return co_await admission->validate(request);
}

Task<Result<Json>> Impl::bind(std::string ns, std::string name, Json body, WriteContext context) {
  const Stored* pods = stored(api::res("pods"));
  const std::string target(str(at(body, "target"), "name"));
  if (const auto given = str(at(body, "metadata"), "name"); !given.empty() && given != name) {
    co_return fail(Code::kBadRequest, "name in URL does not match name in Binding object");
  }
  if (target.empty()) co_return fail(Code::kInternal, "target.name: Required value");
  if (const auto kind = str(at(body, "target"), "kind"); !kind.empty() && kind != "Node") {
    co_return fail(Code::kInternal,
                   "target.kind: Unsupported value: " + go_quote(kind) + ": supported values: \"Node\", \"<empty>\"");
  }
  BRUME_CO_CHECK(co_await admit("binding", ns, name, body, context));
  for (int attempt = 1;; ++attempt) {
    const api::ObjectPtr before = pods->cache->find(ns, name);
    if (!before) co_return fail(not_found(*pods->resource, name));
    BRUME_CO_TRY(std::string next, bound(*before, body, clock.now()));
    if (context.dry_run) co_return success();
    auto done = co_await put_bytes(*pods, ns, name, std::move(next), before->resource_version());
    if (done) co_return success();
    const bool again =
        done.error().code == Code::kConflict && attempt < kConflictRetries && pods->cache->find(ns, name) != before;
    if (!again) co_return fail(std::move(done).error());
  }
}

Task<Result<Json>> Registry::create_subresource(const api::Resource& resource, std::string ns, std::string name,
                                                std::string subresource, Json body, WriteContext context) {
  const bool pods = resource.group.empty() && resource.plural == "pods";
  if (pods && subresource == "binding") {
    co_return co_await impl_->bind(std::move(ns), std::move(name), std::move(body), std::move(context));
  }
  if (resource.group.empty() && resource.plural == "bindings") {
    const std::string pod(str(at(body, "metadata"), "name"));
    co_return co_await impl_->bind(std::move(ns), pod, std::move(body), std::move(context));
  }
  if (pods && subresource == "eviction") {
    co_return co_await impl_->evict(std::move(ns), std::move(name), std::move(body), std::move(context));
  }
  if (impl_->reviews != nullptr && impl_->reviews->handles(resource, subresource)) {
    const User user = context.user != nullptr ? *context.user : User{};
    co_return co_await impl_->reviews->create(resource, std::move(subresource), std::move(ns), std::move(name),
                                              std::move(body), user);
  }
  co_return fail(Code::kMethodNotAllowed,
                 "create is not supported on resources of kind " +
                     go_quote(resource.group_resource() + (subresource.empty() ? "" : "/") + subresource));
}

}  // namespace brume::apiserver
