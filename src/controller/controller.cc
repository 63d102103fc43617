#include "controller.h"

#include <algorithm>

#include "brume/base/strings.h"

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

std::int64_t scaled_value(const Json& int_or_percent, std::int64_t total, bool round_up) {
  if (int_or_percent.is_number_integer()) return int_or_percent.get<std::int64_t>();
  auto text = str(int_or_percent);
  if (!text.ends_with('%')) return 0;
  text.remove_suffix(1);
  const auto product = parse_int(text).value_or(0) * total;
  return round_up ? (product + 99) / 100 : product / 100;
}

std::string name_hash(std::string_view bytes, std::int64_t collisions) {
  // FNV-1a, 32 bits, over the bytes and, after a collision, its count.
  std::uint32_t hash = 2166136261U;
  const auto mix = [&hash](std::string_view text) {
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  };
  mix(bytes);
  if (collisions > 0) mix(std::to_string(collisions));
  // Kubernetes' alphabet for generated names: no vowels that could make words, none that look alike.
  static constexpr std::string_view kSafe = "bcdfghjklmnpqrstvwxz2456789";
  std::string out = std::to_string(hash);
  for (char& c : out) c = kSafe[static_cast<unsigned char>(c) % kSafe.size()];
  return out;
}

bool namespace_goes(const Error& error) {
  return std::ranges::any_of(error.causes, [](const Cause& cause) { return cause.reason == "NamespaceTerminating"; });
}

void set_count(Json& status, const char* field, std::int64_t value) {
  if (value == 0) {
    status.erase(field);
  } else {
    status[field] = value;
  }
}

Task<Result<std::int64_t>> write_status(client::Client& client, const api::Resource& resource, ObjectPtr object,
                                        Json before, Json after, Demand demand) {
  if (after == before) co_return 0;
  Json patch = {{"metadata", {{"uid", object->uid()}}}, {"status", std::move(after)}};
  if (demand == Demand::kRevision) patch["metadata"]["resourceVersion"] = std::to_string(object->resource_version());
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
