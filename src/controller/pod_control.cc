#include "pod_control.h"

#include <algorithm>
#include <memory>

#include "brume/client/parallel.h"

namespace brume::controller {

// Expectations -------------------------------------------------------------------------------------------------------

void Expectations::created(const std::string& owner, std::int64_t revision) {
  auto& waiting = waiting_[owner];
  waiting.revision = std::max(waiting.revision, revision);
}

void Expectations::deleting(const std::string& owner, const ObjectPtr& object) {
  waiting_[owner].deleting.emplace(object->uid(), object->key());
}

bool Expectations::satisfied(const std::string& owner) {
  auto it = waiting_.find(owner);
  if (it == waiting_.end()) return true;
  std::erase_if(it->second.deleting, [this](const auto& entry) {
    const auto now = informer_.get(entry.second);
    return !now || now->uid() != entry.first || now->deleting();
  });
  if (!it->second.deleting.empty() || it->second.revision > informer_.revision()) return false;
  waiting_.erase(it);
  return true;
}

// Dependents ---------------------------------------------------------------------------------------------------------

namespace {

void enqueue_controller(const DependentWatch& watch, const ObjectPtr& dependent) {
  const auto* ref = dependent->controller();
  if (ref == nullptr || ref->kind != watch.owners.resource().kind) return;
  const auto owner = watch.owners.get(dependent->ns(), ref->name);
  if (owner && owner->uid() == ref->uid) watch.enqueue(owner);
}

void dependent_changed(const DependentWatch& watch, const ObjectPtr& old, const ObjectPtr& now) {
  const bool relabeled = !old || old->labels() != now->labels();
  const bool released = old && old->controller() != nullptr &&
                        (now->controller() == nullptr || now->controller()->uid != old->controller()->uid);
  if (released) enqueue_controller(watch, old);
  if (now->controller() != nullptr) return enqueue_controller(watch, now);
  if (now->deleting() || !(relabeled || released)) return;
  for (const auto& owner : watch.owners.list(now->ns())) {
    if (watch.selects(owner, now)) watch.enqueue(owner);
  }
}

}  // namespace

void watch_dependents(DependentWatch watch) {
  auto shared = std::make_shared<const DependentWatch>(std::move(watch));
  shared->dependents.add_handler(
      {.added = [shared](const ObjectPtr& now) { dependent_changed(*shared, nullptr, now); },
       .updated = [shared](const ObjectPtr& old, const ObjectPtr& now) { dependent_changed(*shared, old, now); },
       .deleted = [shared](const ObjectPtr& last) { enqueue_controller(*shared, last); }});
}

Task<Status> slow_start(std::size_t count, std::function<Task<Status>(std::size_t)> one) {
  constexpr std::size_t kMost = 500;
  std::size_t done = 0;
  for (std::size_t batch = 1; done < count; batch = std::min(2 * batch, kMost)) {
    batch = std::min(batch, count - done);
    Status failed;
    // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): for_each_parallel keeps it
    const auto do_one = [&](std::size_t i) -> Task<void> {
      auto status = co_await one(done + i);
      if (!status && failed) failed = std::move(status);
    };
    co_await client::for_each_parallel(batch, do_one);
    if (!failed) co_return failed;
    done += batch;
  }
  co_return Status{};
}

// Pods ---------------------------------------------------------------------------------------------------------------

Task<Status> PodControl::create(ObjectPtr owner, Json pod) {
  auto created = co_await client_.create(pods_.resource(), owner->ns(), std::move(pod));
  if (created) {
    expectations_.created(owner->key(), (*created)->resource_version());
    events_.normal(*owner, "SuccessfulCreate", "Created pod: " + (*created)->name());
    co_return Status{};
  }
  if (namespace_goes(created.error())) co_return Status{};
  events_.warning(*owner, "FailedCreate", "Error creating: " + created.error().message);
  co_return fail(created.error());
}

Task<Status> PodControl::remove(ObjectPtr owner, ObjectPtr pod) {
  auto done = co_await client_.remove(pods_.resource(), pod->ns(), pod->name(), {.uid = pod->uid()});
  if (!done && done.error().code != Code::kNotFound) {
    events_.warning(*owner, "FailedDelete", "Error deleting: " + done.error().message);
    co_return fail(done.error());
  }
  expectations_.deleting(owner->key(), pod);
  if (done) events_.normal(*owner, "SuccessfulDelete", "Deleted pod: " + pod->name());
  co_return Status{};
}

Task<Status> PodControl::remove_all(ObjectPtr owner, std::vector<ObjectPtr> pods) {
  Status failed;
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): for_each_parallel keeps it
  const auto remove_one = [&](std::size_t i) -> Task<void> {
    auto done = co_await remove(owner, pods[i]);
    if (!done && failed) failed = std::move(done);
  };
  co_await client::for_each_parallel(pods.size(), remove_one);
  co_return failed;
}

// Claims -------------------------------------------------------------------------------------------------------------

std::string orphans_of(std::string_view ns) { return "orphans/" + std::string(ns); }

void index_by_controller(const Object& object, std::vector<std::string>& values) {
  const auto* owner = object.controller();
  values.push_back(owner != nullptr ? owner->uid : orphans_of(object.ns()));
}

Json pod_from_template(const Object& owner, const Json& pod_template) {
  const auto& meta = at(pod_template, "metadata");
  Json pod = {{"metadata", {{"generateName", owner.name() + "-"}, {"namespace", owner.ns()}}}};
  for (const char* kept : {"labels", "annotations", "finalizers"}) {
    if (meta.is_object() && meta.contains(kept)) pod["metadata"][kept] = meta[kept];
  }
  pod["metadata"]["ownerReferences"] = Json::array({client::controller_reference(owner)});
  pod["spec"] = at(pod_template, "spec");
  return pod;
}

Task<Status> adopt(client::Client& client, const api::Resource& resource, ObjectPtr object, ObjectPtr owner,
                   std::string finalizer) {
  Json patch = {
      {"metadata", {{"ownerReferences", Json::array({client::controller_reference(*owner)})}, {"uid", object->uid()}}}};
  if (!finalizer.empty()) patch["metadata"]["finalizers"] = Json::array({finalizer});
  auto done =
      co_await client.patch(resource, object->ns(), object->name(), client::PatchType::kStrategic, std::move(patch));
  if (!done && done.error().code != Code::kNotFound) co_return fail(done.error());
  co_return Status{};
}

Task<Status> release(client::Client& client, const api::Resource& resource, ObjectPtr object, std::string owner_uid,
                     std::string finalizer) {
  Json patch = {
      {"metadata",
       {{"ownerReferences", Json::array({{{"$patch", "delete"}, {"uid", owner_uid}}})}, {"uid", object->uid()}}}};
  if (!finalizer.empty()) patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = Json::array({finalizer});
  auto done =
      co_await client.patch(resource, object->ns(), object->name(), client::PatchType::kStrategic, std::move(patch));
  // Gone, or another object of that name: nothing to release.
  if (!done && done.error().code != Code::kNotFound && done.error().code != Code::kInvalid) {
    co_return fail(done.error());
  }
  co_return Status{};
}

namespace {

// An owner in the cache may be gone already or be another of the same name; adopting for it would orphan the object.
Task<Status> check_owner(client::Client& client, const api::Resource& owners, ObjectPtr owner) {
  BRUME_CO_TRY(auto now, co_await client.get(owners, owner->ns(), owner->name()));
  if (now->uid() != owner->uid()) {
    co_return fail(Code::kConflict, "original " + owner->kind() + " " + owner->key() + " is gone");
  }
  if (now->deleting()) co_return fail(Code::kConflict, owner->key() + " has just been deleted");
  co_return Status{};
}

}  // namespace

Task<Result<std::vector<ObjectPtr>>> claim(client::Client& client, Informer& informer, const api::Resource& owners,
                                           ObjectPtr owner, api::LabelSelector selector,
                                           std::function<bool(const ObjectPtr&)> wanted, std::string finalizer) {
  std::vector<ObjectPtr> mine;
  std::vector<ObjectPtr> strays;
  for (const auto& object : informer.index(kByController, owner->uid())) {
    if (selector.matches(object->labels())) {
      mine.push_back(object);
    } else if (!owner->deleting() && wanted(object)) {
      strays.push_back(object);
    }
  }
  std::vector<ObjectPtr> orphans;
  for (const auto& object : informer.index(kByController, orphans_of(owner->ns()))) {
    if (owner->deleting() || object->deleting() || !wanted(object)) continue;
    if (selector.matches(object->labels())) orphans.push_back(object);
  }
  for (const auto& object : strays) {
    BRUME_CO_CHECK(co_await release(client, informer.resource(), object, owner->uid(), finalizer));
  }
  if (!orphans.empty()) BRUME_CO_CHECK(co_await check_owner(client, owners, owner));
  for (const auto& object : orphans) {
    BRUME_CO_CHECK(co_await adopt(client, informer.resource(), object, owner, finalizer));
    mine.push_back(object);
  }
  co_return mine;
}

}  // namespace brume::controller
