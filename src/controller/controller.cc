#include "controller.h"

#include <algorithm>

namespace brume::controller {

Controller::Controller(Context& context, std::string name, client::WorkQueueOptions options)
    : context_(context),
      name_(std::move(name)),
      queue_(name_, context.informers.executor(), context.clock(), options),
      events_(context.client(), context.informers.executor(), context.clock(), name_),
      tasks_(context.informers.executor()) {}

Controller::~Controller() = default;

void Controller::start() { tasks_.spawn("controller", begin(this)); }

Task<void> Controller::begin(Controller* self) {
  for (auto* informer : self->used_) co_await informer->wait_synced();
  self->synced();
  self->queue_.start([self](std::string key) { return self->reconcile(std::move(key)); });
}

Task<void> Controller::stop() {
  co_await tasks_.stop();
  co_await queue_.stop();
  co_await events_.stop();
}

Informer& Controller::use(std::string_view group_resource) {
  auto& informer = context_.informers.informer(group_resource);
  if (std::find(used_.begin(), used_.end(), &informer) == used_.end()) used_.push_back(&informer);
  return informer;
}

Informer& Controller::watch(std::string_view group_resource) {
  auto& informer = use(group_resource);
  informer.add_handler({.added = [this](const ObjectPtr& now) { enqueue(now); },
                        .updated = [this](const ObjectPtr&, const ObjectPtr& now) { enqueue(now); },
                        .deleted = [this](const ObjectPtr& last) { enqueue(last); }});
  return informer;
}

std::pair<std::string, std::string> split_key(std::string_view key) {
  const auto slash = key.find('/');
  if (slash == std::string_view::npos) return {"", std::string(key)};
  return {std::string(key.substr(0, slash)), std::string(key.substr(slash + 1))};
}

void set_count(Json& status, const char* field, std::int64_t value) {
  if (value == 0) {
    status.erase(field);
  } else {
    status[field] = value;
  }
}

Task<Result<std::int64_t>> write_status(client::Client& client, const api::Resource& resource, ObjectPtr object,
                                        Json before, Json after) {
  if (after == before) co_return 0;
  Json patch = {{"metadata", {{"uid", object->uid()}}}, {"status", std::move(after)}};
  if (before.is_object()) {
    for (const auto& [field, value] : before.items()) {
      if (!patch["status"].contains(field)) patch["status"][field] = nullptr;
    }
  }
  auto done = co_await client.patch(resource, object->ns(), object->name(), client::PatchType::kMerge, std::move(patch),
                                    {.subresource = "status"});
  if (done) co_return (*done)->resource_version();
  if (done.error().code == Code::kNotFound) co_return 0;
  co_return fail(done.error());
}

}  // namespace brume::controller
