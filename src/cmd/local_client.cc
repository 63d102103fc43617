#include "local_client.h"

#include "brume/base/json.h"
#include "brume/base/task.h"

namespace brume::cmd {

namespace {

using apiserver::Registry;
using client::List;
using client::ObjectPtr;
using client::Resource;
using client::WatchEvent;

/// A watch that nobody takes from is looked after once so often; how long does not matter.
constexpr auto kForever = std::chrono::hours(1);

std::string revision_text(std::int64_t revision) { return revision > 0 ? std::to_string(revision) : std::string(); }

class LocalWatch final : public client::Watch {
 public:
  explicit LocalWatch(std::unique_ptr<apiserver::WatchStream> stream) : stream_(std::move(stream)) {}

  Task<Result<std::vector<WatchEvent>>> next() override {
    for (;;) {
      auto events = co_await stream_->next(kForever);
      if (!events) co_return fail(std::move(events).error());
      if (events->empty()) continue;
      std::vector<WatchEvent> out;
      out.reserve(events->size());
      for (apiserver::WatchEvent& event : *events) {
        out.push_back({static_cast<WatchEvent::Type>(event.type), std::move(event.object), event.revision});
      }
      co_return out;
    }
  }

 private:
  std::unique_ptr<apiserver::WatchStream> stream_;
};

static_assert(static_cast<int>(WatchEvent::Type::kAdded) == static_cast<int>(apiserver::WatchEvent::Type::kAdded) &&
              static_cast<int>(WatchEvent::Type::kModified) ==
                  static_cast<int>(apiserver::WatchEvent::Type::kModified) &&
              static_cast<int>(WatchEvent::Type::kDeleted) == static_cast<int>(apiserver::WatchEvent::Type::kDeleted) &&
              static_cast<int>(WatchEvent::Type::kBookmark) ==
                  static_cast<int>(apiserver::WatchEvent::Type::kBookmark));

class LocalClient final : public client::Client {
 public:
  LocalClient(Registry& registry, LocalClientOptions options) : registry_(registry), options_(std::move(options)) {}

  Task<Result<ObjectPtr>> get(const Resource& resource, std::string ns, std::string name) override {
    BRUME_CO_CHECK(allow("get", resource, "", ns, name));
    if (apiserver::Computed* computed = registry_.computed(resource)) {
      co_return co_await computed->get(resource, std::move(ns), std::move(name));
    }
    co_return registry_.get(resource, ns, name);
  }

  Task<Result<Json>> get_subresource(const Resource& resource, std::string ns, std::string name,
                                     std::string subresource) override {
    BRUME_CO_CHECK(allow("get", resource, subresource, ns, name));
    if (subresource != "scale" || resource.subresource(subresource) == nullptr) {
      co_return fail(Code::kNotFound, "the server could not find the requested resource");
    }
    co_return registry_.get_scale(resource, ns, name);
  }

  Task<Result<List>> list(const Resource& resource, client::ListOptions options) override {
    BRUME_CO_CHECK(allow("list", resource, "", options.ns, "", options.field_selector, options.label_selector));
    auto page = co_await registry_.list(resource, query(std::move(options)));
    if (!page) co_return fail(std::move(page).error());
    co_return List{std::move(page->items), page->resource_version, std::move(page->continue_token)};
  }

  Task<Result<std::unique_ptr<client::Watch>>> watch(const Resource& resource, client::WatchOptions options) override {
    BRUME_CO_CHECK(allow("watch", resource, "", options.ns, "", options.field_selector, options.label_selector));
    apiserver::WatchQuery query;
    query.ns = std::move(options.ns);
    query.label_selector = std::move(options.label_selector);
    query.field_selector = std::move(options.field_selector);
    query.resource_version = revision_text(options.resource_version);
    auto stream = co_await registry_.watch(resource, std::move(query));
    if (!stream) co_return fail(std::move(stream).error());
    co_return std::unique_ptr<client::Watch>(std::make_unique<LocalWatch>(std::move(*stream)));
  }

  Task<Result<ObjectPtr>> create(const Resource& resource, std::string ns, Json body,
                                 client::WriteOptions options) override {
    BRUME_CO_CHECK(allow("create", resource, options.subresource, ns, ""));
    co_return co_await registry_.create(resource, std::move(ns), std::move(body), context(options));
  }

  Task<Result<Json>> create_subresource(const Resource& resource, std::string ns, std::string name,
                                        std::string subresource, Json body) override {
    BRUME_CO_CHECK(allow("create", resource, subresource, ns, name));
    co_return co_await registry_.create_subresource(resource, std::move(ns), std::move(name), std::move(subresource),
                                                    std::move(body), context({}));
  }

  Task<Result<ObjectPtr>> update(const Resource& resource, std::string ns, std::string name, Json body,
                                 client::WriteOptions options) override {
    BRUME_CO_CHECK(allow("update", resource, options.subresource, ns, name));
    if (options.subresource == "scale") {
      auto scale = co_await registry_.update_scale(resource, ns, name, std::move(body), context(options));
      if (!scale) co_return fail(std::move(scale).error());
      co_return api::Object::from_json(*scale);
    }
    co_return co_await registry_.update(resource, std::move(ns), std::move(name), options.subresource, std::move(body),
                                        context(options));
  }

  Task<Result<ObjectPtr>> patch(const Resource& resource, std::string ns, std::string name, client::PatchType type,
                                Json patch, client::WriteOptions options) override {
    BRUME_CO_CHECK(allow("patch", resource, options.subresource, ns, name));
    apiserver::PatchType how = apiserver::PatchType::kMerge;
    switch (type) {
      case client::PatchType::kJson: how = apiserver::PatchType::kJson; break;
      case client::PatchType::kMerge: break;
      case client::PatchType::kStrategic: how = apiserver::PatchType::kStrategic; break;
      case client::PatchType::kApply:
        co_return fail(Code::kUnsupportedMediaType, "server-side apply is not served yet");
    }
    if (options.subresource == "scale") {
      auto scale = co_await registry_.patch_scale(resource, ns, name, how, std::move(patch), context(options));
      if (!scale) co_return fail(std::move(scale).error());
      co_return api::Object::from_json(*scale);
    }
    co_return co_await registry_.patch(resource, std::move(ns), std::move(name), options.subresource, how,
                                       std::move(patch), context(options));
  }

  Task<Status> remove(const Resource& resource, std::string ns, std::string name,
                      client::DeleteOptions options) override {
    BRUME_CO_CHECK(allow("delete", resource, "", ns, name));
    auto done =
        co_await registry_.remove(resource, std::move(ns), std::move(name), request(std::move(options)), context({}));
    if (!done) co_return fail(std::move(done).error());
    co_return Status{};
  }

  Task<Status> remove_collection(const Resource& resource, client::ListOptions which,
                                 client::DeleteOptions options) override {
    BRUME_CO_CHECK(allow("deletecollection", resource, "", which.ns, "", which.field_selector, which.label_selector));
    auto done = co_await registry_.remove_collection(resource, query(std::move(which)), request(std::move(options)),
                                                     context({}));
    if (!done) co_return fail(std::move(done).error());
    co_return Status{};
  }

 private:
  [[nodiscard]] Status allow(std::string_view verb, const Resource& resource, const std::string& subresource,
                             const std::string& ns, const std::string& name, std::string field_selector = {},
                             std::string label_selector = {}) const {
    if (options_.authorizer == nullptr) return {};
    const apiserver::Attributes attributes{.user = options_.user,
                                           .verb = std::string(verb),
                                           .group = std::string(resource.group),
                                           .version = std::string(resource.version),
                                           .resource = std::string(resource.plural),
                                           .subresource = subresource,
                                           .ns = ns,
                                           .name = name,
                                           .path = {},
                                           .field_selector = std::move(field_selector),
                                           .label_selector = std::move(label_selector)};
    const apiserver::Decision decision = options_.authorizer->authorize(attributes);
    if (decision.allowed) return {};
    return fail(Code::kForbidden, resource.group_resource() + " is forbidden: User \"" + options_.user.name +
                                      "\" cannot " + attributes.verb + ": " + decision.reason);
  }

  [[nodiscard]] apiserver::WriteContext context(const client::WriteOptions& options) const {
    apiserver::WriteContext out;
    out.user = &options_.user;
    out.field_manager = options.field_manager;
    out.dry_run = options.dry_run;
    return out;
  }

  static apiserver::ListQuery query(client::ListOptions options) {
    apiserver::ListQuery out;
    out.ns = std::move(options.ns);
    out.label_selector = std::move(options.label_selector);
    out.field_selector = std::move(options.field_selector);
    out.limit = options.limit;
    out.continue_token = std::move(options.continue_token);
    return out;
  }

  static apiserver::DeleteRequest request(client::DeleteOptions options) {
    apiserver::DeleteRequest out;
    out.grace_period_seconds = options.grace_period_seconds;
    out.propagation_policy = std::move(options.propagation_policy);
    out.uid = std::move(options.uid);
    out.resource_version = std::move(options.resource_version);
    return out;
  }

  Registry& registry_;
  const LocalClientOptions options_;
};

}  // namespace

std::unique_ptr<client::Client> make_local_client(apiserver::Registry& registry, LocalClientOptions options) {
  return std::make_unique<LocalClient>(registry, std::move(options));
}

}  // namespace brume::cmd
