// Namespace deletion: everything in it goes, its finalizers run, then the namespace itself.
#include <algorithm>
#include <map>
#include <set>

#include "brume/client/parallel.h"
#include "make.h"

namespace brume::controller {

namespace {

constexpr std::string_view kFinalizer = "kubernetes";
constexpr auto kFirstWait =
    std::chrono::milliseconds(50);  // until remaining content is looked at again; doubled each time
constexpr auto kLongestWait = std::chrono::seconds(5);

/// What is left in a namespace after one round.
struct Remains {
  std::map<std::string, std::size_t> objects;     // "pods." or "deployments.apps" to how many
  std::map<std::string, std::size_t> finalizers;  // to how many objects have it
  std::set<std::string> errors;
  [[nodiscard]] bool nothing() const { return objects.empty() && errors.empty(); }
};

class NamespaceController final : public Controller {
 public:
  explicit NamespaceController(Context& context)
      : Controller(context, "namespace-controller", {.workers = 10}),
        namespaces_(watch("namespaces")),
        pods_(use("pods")) {
    pods_.add_handler({.added = nullptr, .updated = nullptr, .deleted = [this](const ObjectPtr& pod) {
                         const auto space = namespaces_.get(pod->ns());
                         if (space && space->deleting()) queue_.add(pod->ns());
                       }});
  }

 private:
  Task<Status> reconcile(std::string name) override;
  Task<Remains> empty(std::string ns);
  Task<void> empty_resource(const api::Resource& resource, std::string ns, Remains* remains);
  Task<Status> report(ObjectPtr space, const Remains& remains);
  Task<Status> finalize(std::string name);

  Informer& namespaces_;
  Informer& pods_;
  std::map<std::string, std::chrono::milliseconds> waits_;
};

bool has_finalizer(const Json& space) {
  const auto& finalizers = at(space, "spec", "finalizers");
  return std::find(finalizers.begin(), finalizers.end(), Json(std::string(kFinalizer))) != finalizers.end();
}

Task<Status> NamespaceController::reconcile(std::string name) {
  const auto space = namespaces_.get(name);
  if (!space || !space->deleting() || !has_finalizer(space->parse())) {
    waits_.erase(name);
    co_return Status{};
  }
  const Remains remains = co_await empty(name);
  BRUME_CO_CHECK(co_await report(space, remains));
  if (remains.nothing()) {
    waits_.erase(name);
    co_return co_await finalize(name);
  }
  auto& wait = waits_.try_emplace(name, kFirstWait).first->second;
  queue_.add_after(name, wait);
  wait = std::min<std::chrono::milliseconds>(wait * 2, kLongestWait);
  co_return Status{};
}

// Pods go first and the rest when they are gone, so that nothing that a running pod relies on (network policies,
// secrets) goes before it (KEP-5080).
Task<Remains> NamespaceController::empty(std::string ns) {
  Remains remains;
  co_await empty_resource(pods_.resource(), ns, &remains);
  if (!remains.nothing()) co_return remains;
  std::vector<const api::Resource*> rest;
  std::set<std::string> seen = {"pods"};
  for (const auto& resource : api::builtin_resources()) {
    if (!resource.namespaced || !resource.has_verb("list") || !resource.has_verb("delete")) continue;
    if (seen.insert(resource.group_resource()).second) rest.push_back(&resource);
  }
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): for_each_parallel keeps it
  const auto empty_one = [&](std::size_t i) -> Task<void> { co_await empty_resource(*rest[i], ns, &remains); };
  co_await client::for_each_parallel(rest.size(), empty_one, 8);
  co_return remains;
}

Task<void> NamespaceController::empty_resource(const api::Resource& resource, std::string ns, Remains* remains) {
  const client::ListOptions which{.ns = ns};
  auto before = co_await client::list_all(client(), resource, which);
  if (before && before->items.empty()) co_return;
  auto done = co_await client().remove_collection(resource, which, {.propagation_policy = "Background"});
  if (!done && done.error().code != Code::kNotFound && done.error().code != Code::kMethodNotAllowed) {
    remains->errors.insert(done.error().message);
  }
  auto after = co_await client::list_all(client(), resource, which);
  if (!after) {
    remains->errors.insert(after.error().message);
    co_return;
  }
  if (after->items.empty()) co_return;
  remains->objects[std::string(resource.plural) + "." + std::string(resource.group)] = after->items.size();
  for (const auto& item : after->items) {
    for (const auto& finalizer : item->finalizers()) ++remains->finalizers[finalizer];
  }
}

std::string joined(const std::map<std::string, std::size_t>& counts, std::string_view between, std::string_view after) {
  std::string out;
  for (const auto& [name, count] : counts) {
    if (!out.empty()) out += ", ";
    out.append(name).append(between).append(std::to_string(count)).append(after);
  }
  return out;
}

Task<Status> NamespaceController::report(ObjectPtr space, const Remains& remains) {
  const Json value = space->parse();
  const auto& before = at(value, "status");
  Json status = before.is_object() ? before : Json::object();
  status["phase"] = "Terminating";
  const auto set = [&](const char* type, bool bad, const char* reason, std::string message) {
    client::set_condition(
        status,
        {{"type", type}, {"status", bad ? "True" : "False"}, {"reason", reason}, {"message", std::move(message)}},
        clock().now());
  };
  set("NamespaceDeletionDiscoveryFailure", false, "ResourcesDiscovered", "All resources successfully discovered");
  set("NamespaceDeletionGroupVersionParsingFailure", false, "ParsedGroupVersions",
      "All legacy kube types successfully parsed");
  if (remains.errors.empty()) {
    set("NamespaceDeletionContentFailure", false, "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization");
  } else {
    std::string message =
        "Failed to delete all resource types, " + std::to_string(remains.errors.size()) + " remaining:";
    for (const auto& error : remains.errors) message += " " + error + ",";
    message.pop_back();
    set("NamespaceDeletionContentFailure", true, "ContentDeletionFailed", std::move(message));
  }
  if (remains.objects.empty()) {
    set("NamespaceContentRemaining", false, "ContentRemoved", "All content successfully removed");
  } else {
    set("NamespaceContentRemaining", true, "SomeResourcesRemain",
        "Some resources are remaining: " + joined(remains.objects, " has ", " resource instances"));
  }
  if (remains.finalizers.empty()) {
    set("NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers", "All content-preserving finalizers finished");
  } else {
    set("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain",
        "Some content in the namespace has finalizers remaining: " +
            joined(remains.finalizers, " in ", " resource instances"));
  }
  auto written = co_await write_status(client(), namespaces_.resource(), space, before, std::move(status));
  if (!written) co_return fail(written.error());
  co_return Status{};
}

Task<Status> NamespaceController::finalize(std::string name) {
  auto done = co_await client::retry_on_conflict(
      client(), namespaces_.resource(), "", name,
      [](Json& space) {
        if (!has_finalizer(space)) return false;
        auto& finalizers = space["spec"]["finalizers"];
        finalizers.erase(std::remove(finalizers.begin(), finalizers.end(), Json(std::string(kFinalizer))),
                         finalizers.end());
        return true;
      },
      {.subresource = "finalize"});
  if (!done && done.error().code != Code::kNotFound) co_return fail(done.error());
  co_return Status{};
}

}  // namespace

std::unique_ptr<Controller> make_namespace(Context& context) { return std::make_unique<NamespaceController>(context); }

}  // namespace brume::controller
