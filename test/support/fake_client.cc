#include "fake_client.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <map>
#include <mutex>

#include "brume/api/selector.h"
#include "brume/base/random.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "brume/base/time.h"

namespace brume::test {

using api::Object;
using api::ObjectPtr;
using api::Resource;
using client::WatchEvent;

// Selectors --------------------------------------------------------------------------------------------------------

namespace {

std::vector<std::string> split_requirements(std::string_view text) {
  std::vector<std::string> parts;
  std::string part;
  int depth = 0;
  for (const char c : text) {
    depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    if (c == ',' && depth == 0) {
      parts.push_back(std::exchange(part, {}));
    } else {
      part += c;
    }
  }
  if (!trim(part).empty()) parts.push_back(part);
  return parts;
}

std::optional<std::string> label_of(const api::StringMap& labels, std::string_view key) {
  for (const auto& [k, v] : labels) {
    if (k == key) return v;
  }
  return std::nullopt;
}

bool in_set(std::string_view requirement, std::size_t at, std::string_view word, const api::StringMap& labels,
            bool wanted) {
  const auto value = label_of(labels, trim(requirement.substr(0, at)));
  auto set = trim(requirement.substr(at + word.size()));
  set.remove_prefix(1);
  set.remove_suffix(1);
  const auto parts = split(set, ',');
  const bool in = value && std::any_of(parts.begin(), parts.end(), [&](auto p) { return trim(p) == *value; });
  return in == wanted;
}

bool requirement_matches(std::string_view r, const api::StringMap& labels) {
  if (auto i = r.find(" notin "); i != r.npos) return in_set(r, i, " notin ", labels, false);
  if (auto i = r.find(" in "); i != r.npos) return in_set(r, i, " in ", labels, true);
  if (auto i = r.find("!="); i != r.npos) return label_of(labels, trim(r.substr(0, i))) != trim(r.substr(i + 2));
  if (auto i = r.find('='); i != r.npos) {
    const auto from = r.find_first_not_of('=', i);
    const auto value = label_of(labels, trim(r.substr(0, i)));
    return value && *value == (from == r.npos ? "" : trim(r.substr(from)));
  }
  if (r.starts_with('!')) return !label_of(labels, trim(r.substr(1)));
  return label_of(labels, trim(r)).has_value();
}

std::string field_text(const Json& object, std::string_view path) {
  const Json* value = &object;
  for (const auto part : split(path, '.')) value = &at(*value, part);
  if (value->is_string()) return value->get<std::string>();
  return value->is_null() ? "" : dump_json(*value);
}

}  // namespace

bool labels_match(std::string_view selector, const api::StringMap& labels) {
  for (const auto& r : split_requirements(selector)) {
    if (!requirement_matches(trim(r), labels)) return false;
  }
  return true;
}

bool fields_match(std::string_view selector, const Json& object) {
  for (const auto& r : split_requirements(selector)) {
    const bool negative = r.find("!=") != r.npos;
    const auto i = negative ? r.find("!=") : r.find('=');
    const auto value = std::string_view(r).substr(std::min(r.size(), r.find_first_not_of("!=", i)));
    if ((field_text(object, trim(std::string_view(r).substr(0, i))) == trim(value)) == negative) return false;
  }
  return true;
}

// State --------------------------------------------------------------------------------------------------------------

namespace {

struct Record {
  WatchEvent event;
  ObjectPtr before;  // null when added
};

/// One resource's objects and the events since the last compaction.
struct Shelf {
  std::map<std::string, ObjectPtr> objects;
  std::vector<Record> history;
  std::int64_t compacted = 0;
};

/// What wakes one watch, from whatever thread wrote.
struct Bell {
  explicit Bell(Executor ex) : executor(std::move(ex)), event(executor) {}
  Executor executor;
  Event event;
};

std::string key_of(std::string_view ns, std::string_view name) {
  return ns.empty() ? std::string(name) : std::string(ns) + "/" + std::string(name);
}

ObjectPtr make_object(const Json& value) {
  auto object = Object::from_json(value);
  if (!object) std::abort();
  return *object;
}

// What strategic merge does to the lists that loops patch; whole-list replacement elsewhere.
void merge_strategic(Json& target, const Json& patch) {
  if (!target.is_object()) target = Json::object();
  for (const auto& [key, value] : patch.items()) {
    static const std::map<std::string, std::string, std::less<>> kMergeKeys = {
        {"conditions", "type"}, {"ownerReferences", "uid"}, {"containers", "name"}, {"volumes", "name"},
        {"env", "name"},        {"addresses", "type"}};
    const auto merge_key = kMergeKeys.find(key);
    if (value.is_null()) {
      target.erase(key);
    } else if (value.is_array() && merge_key != kMergeKeys.end() && target.contains(key)) {
      for (const auto& item : value) {
        auto& list = target[key];
        auto same = std::find_if(list.begin(), list.end(), [&](const Json& have) {
          return str(have, merge_key->second) == str(item, merge_key->second);
        });
        if (str(item, "$patch") == "delete") {
          if (same != list.end()) list.erase(same);
        } else if (same != list.end()) {
          merge_strategic(*same, item);
        } else {
          list.push_back(item);
        }
      }
    } else if (value.is_array() && key == "finalizers" && target.contains(key)) {
      for (const auto& item : value) {
        auto& list = target[key];
        if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
      }
    } else if (value.is_object()) {
      merge_strategic(target[key], value);
    } else if (key == "$deleteFromPrimitiveList/finalizers") {
      auto& list = target["finalizers"];
      for (const auto& item : value) list.erase(std::remove(list.begin(), list.end(), item), list.end());
    } else {
      target[key] = value;
    }
  }
}

}  // namespace

struct FakeClient::State {
  explicit State(Clock& c) : clock(c) {}

  Clock& clock;
  mutable std::mutex mutex;
  std::map<std::string, Shelf, std::less<>> shelves;
  std::int64_t revision = 100;
  std::vector<Reactor> reactors;
  std::vector<Call> calls;
  std::vector<std::weak_ptr<Bell>> bells;
  std::map<std::string, Json> raw;
  int breaks = 0;
  Error break_error;

  std::optional<Error> enter(Call call) {
    std::vector<Reactor> todo;
    {
      std::lock_guard lock(mutex);
      calls.push_back(call);
      todo = reactors;
    }
    for (const auto& reactor : todo) {
      if (auto error = reactor(call)) return error;
    }
    return std::nullopt;
  }

  void ring() {
    std::erase_if(bells, [](const auto& weak) { return weak.expired(); });
    for (auto& weak : bells) {
      if (auto bell = weak.lock()) boost::asio::post(bell->executor, [bell] { bell->event.notify(); });
    }
  }

  ObjectPtr lookup(std::string_view resource, std::string_view key) const {
    auto shelf = shelves.find(resource);
    if (shelf == shelves.end()) return nullptr;
    auto it = shelf->second.objects.find(std::string(key));
    return it == shelf->second.objects.end() ? nullptr : it->second;
  }

  // Stores `value` as a new revision.
  ObjectPtr put(std::string_view resource, Json value) {
    auto& shelf = shelves[std::string(resource)];
    value["metadata"]["resourceVersion"] = std::to_string(++revision);
    auto object = make_object(value);
    auto& slot = shelf.objects[object->key()];
    const auto type = slot ? WatchEvent::Type::kModified : WatchEvent::Type::kAdded;
    shelf.history.push_back({{type, object, revision}, slot});
    slot = object;
    ring();
    return object;
  }

  void drop(std::string_view resource, const std::string& key) {
    auto& shelf = shelves[std::string(resource)];
    auto it = shelf.objects.find(key);
    if (it == shelf.objects.end()) return;
    Json value = it->second->parse();
    value["metadata"]["resourceVersion"] = std::to_string(++revision);
    shelf.history.push_back({{WatchEvent::Type::kDeleted, make_object(value), revision}, it->second});
    shelf.objects.erase(it);
    ring();
  }

  std::string timestamp() const { return format_rfc3339(clock.now()); }

  Result<ObjectPtr> write(const Resource& resource, const ObjectPtr& old, Json body, std::string_view subresource);
  Status remove(const Resource& resource, const ObjectPtr& object, const client::DeleteOptions& options);
};

namespace {

std::unexpected<Error> not_found(const Resource& resource, std::string_view name) {
  return fail(Code::kNotFound, resource.group_resource() + " \"" + std::string(name) + "\" not found");
}

bool gone(const Resource& resource, const Json& object) {
  const auto& meta = at(object, "metadata");
  if (str(meta, "deletionTimestamp").empty() || !at(meta, "finalizers").empty()) return false;
  if (resource.kind == "Namespace" && !at(object, "spec", "finalizers").empty()) return false;
  return num(meta, "deletionGracePeriodSeconds") == 0;
}

Json without(Json value, std::initializer_list<const char*> keys) {
  for (const char* key : keys) value.erase(key);
  return value;
}

}  // namespace

// An update of `old` to `body`, of the whole object or of a sub-resource.
Result<ObjectPtr> FakeClient::State::write(const Resource& resource, const ObjectPtr& old, Json body,
                                           std::string_view subresource) {
  const Json before = old->parse();
  const auto wanted = str(at(body, "metadata"), "resourceVersion");
  if (!wanted.empty() && wanted != std::to_string(old->resource_version())) {
    return fail(Code::kConflict, "Operation cannot be fulfilled on " + resource.group_resource() + " \"" + old->name() +
                                     "\": the object has been modified; please apply your changes to the latest "
                                     "version and try again");
  }
  const auto uid = str(at(body, "metadata"), "uid");
  if (!uid.empty() && uid != old->uid()) return fail(Code::kConflict, "uid mismatch");
  Json after = body;
  if (subresource == "status") {
    after = before;
    after["status"] = at(body, "status");
  } else if (subresource == "finalize") {
    after = before;
    after["spec"]["finalizers"] = at(body, "spec", "finalizers");
  } else if (subresource == "scale") {
    after = before;
    after["spec"]["replicas"] = at(body, "spec", "replicas");
  } else if (resource.subresource("status") != nullptr) {
    after.erase("status");
    if (before.contains("status")) after["status"] = before["status"];
  }
  for (const char* kept : {"uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "namespace",
                           "name", "generation", "resourceVersion"}) {
    after["metadata"].erase(kept);
    if (before["metadata"].contains(kept)) after["metadata"][kept] = before["metadata"][kept];
  }
  after["apiVersion"] = before["apiVersion"];
  after["kind"] = before["kind"];
  if (without(after, {"metadata", "status"}) != without(before, {"metadata", "status"})) {
    after["metadata"]["generation"] = old->generation() + 1;
  }
  if (after == before) return old;
  if (gone(resource, after)) {
    drop(resource.group_resource(), old->key());
    return make_object(after);
  }
  return put(resource.group_resource(), std::move(after));
}

Status FakeClient::State::remove(const Resource& resource, const ObjectPtr& object,
                                 const client::DeleteOptions& options) {
  if (!options.uid.empty() && options.uid != object->uid()) return fail(Code::kConflict, "uid precondition");
  if (!options.resource_version.empty() && options.resource_version != std::to_string(object->resource_version())) {
    return fail(Code::kConflict, "resourceVersion precondition");
  }
  Json value = object->parse();
  auto& meta = value["metadata"];
  if (!meta.contains("finalizers")) meta["finalizers"] = Json::array();
  auto& finalizers = meta["finalizers"];
  const Json wait = options.propagation_policy == "Foreground" ? Json("foregroundDeletion") : Json("orphan");
  const bool waits = options.propagation_policy == "Foreground" || options.propagation_policy == "Orphan";
  if (waits && std::find(finalizers.begin(), finalizers.end(), wait) == finalizers.end()) finalizers.push_back(wait);
  if (finalizers.empty()) meta.erase("finalizers");
  std::int64_t grace = 0;
  if (resource.kind == "Pod") {
    const auto phase = str(at(value, "status"), "phase");
    const bool runs = !str(at(value, "spec"), "nodeName").empty() && phase != "Succeeded" && phase != "Failed";
    const auto asked =
        options.grace_period_seconds.value_or(num(at(value, "spec"), "terminationGracePeriodSeconds", 30));
    grace = runs ? asked : 0;
    if (object->deleting()) grace = std::min(grace, num(meta, "deletionGracePeriodSeconds"));
  }
  if (!object->deleting()) {
    meta["deletionTimestamp"] = timestamp();
    meta["generation"] = object->generation() + 1;
  }
  meta["deletionGracePeriodSeconds"] = grace;
  if (resource.kind == "Namespace") value["status"]["phase"] = "Terminating";
  if (gone(resource, value)) {
    drop(resource.group_resource(), object->key());
  } else {
    put(resource.group_resource(), std::move(value));
  }
  return {};
}

// Behind the API's back ----------------------------------------------------------------------------------------------

FakeClient::FakeClient(Clock& clock) : state_(std::make_shared<State>(clock)) {}
FakeClient::~FakeClient() = default;

void FakeClient::react(Reactor reactor) {
  std::lock_guard lock(state_->mutex);
  state_->reactors.push_back(std::move(reactor));
}

void FakeClient::clear_reactors() {
  std::lock_guard lock(state_->mutex);
  state_->reactors.clear();
}

ObjectPtr FakeClient::seed(std::string_view name, Json object) {
  const Resource& resource = api::res(name);
  std::lock_guard lock(state_->mutex);
  object["apiVersion"] = resource.api_version();
  object["kind"] = std::string(resource.kind);
  auto& meta = object["metadata"];
  if (resource.namespaced && !meta.contains("namespace")) meta["namespace"] = "default";
  const auto old = state_->lookup(name, key_of(str(meta, "namespace"), str(meta, "name")));
  if (!meta.contains("uid")) meta["uid"] = old ? old->uid() : new_uid();
  if (!meta.contains("creationTimestamp")) meta["creationTimestamp"] = state_->timestamp();
  if (!meta.contains("generation")) meta["generation"] = 1;
  return state_->put(name, std::move(object));
}

void FakeClient::set_status(std::string_view resource, std::string_view ns, std::string_view name, const Json& status,
                            bool merge) {
  std::lock_guard lock(state_->mutex);
  auto object = state_->lookup(resource, key_of(ns, name));
  if (!object) return;
  Json value = object->parse();
  if (merge) {
    merge_strategic(value["status"], status);
  } else {
    value["status"] = status;
  }
  state_->put(resource, std::move(value));
}

void FakeClient::erase(std::string_view resource, std::string_view ns, std::string_view name) {
  std::lock_guard lock(state_->mutex);
  state_->drop(resource, key_of(ns, name));
}

ObjectPtr FakeClient::find(std::string_view resource, std::string_view ns, std::string_view name) const {
  std::lock_guard lock(state_->mutex);
  return state_->lookup(resource, key_of(ns, name));
}

Json FakeClient::json(std::string_view resource, std::string_view ns, std::string_view name) const {
  auto object = find(resource, ns, name);
  return object ? object->parse() : Json();
}

std::vector<ObjectPtr> FakeClient::all(std::string_view resource, std::string_view ns) const {
  std::lock_guard lock(state_->mutex);
  std::vector<ObjectPtr> out;
  auto shelf = state_->shelves.find(resource);
  if (shelf == state_->shelves.end()) return out;
  for (const auto& [key, object] : shelf->second.objects) {
    if (ns.empty() || object->ns() == ns) out.push_back(object);
  }
  return out;
}

std::vector<FakeClient::Call> FakeClient::calls() const {
  std::lock_guard lock(state_->mutex);
  return state_->calls;
}

std::size_t FakeClient::count(std::string_view verb, std::string_view resource, std::string_view subresource) const {
  std::lock_guard lock(state_->mutex);
  return static_cast<std::size_t>(std::count_if(state_->calls.begin(), state_->calls.end(), [&](const Call& c) {
    return c.verb == verb && c.resource == resource && c.subresource == subresource;
  }));
}

void FakeClient::clear_calls() {
  std::lock_guard lock(state_->mutex);
  state_->calls.clear();
}

void FakeClient::break_watches(Error error) {
  std::lock_guard lock(state_->mutex);
  ++state_->breaks;
  state_->break_error = std::move(error);
  state_->ring();
}

void FakeClient::compact() {
  std::lock_guard lock(state_->mutex);
  for (auto& [name, shelf] : state_->shelves) {
    shelf.history.clear();
    shelf.compacted = state_->revision;
  }
}

std::int64_t FakeClient::revision() const {
  std::lock_guard lock(state_->mutex);
  return state_->revision;
}

// client::Client -----------------------------------------------------------------------------------------------------

namespace {

class FakeWatch : public client::Watch {
 public:
  FakeWatch(std::shared_ptr<FakeClient::State> state, std::string resource, client::WatchOptions options,
            std::shared_ptr<Bell> bell, int breaks)
      : state_(std::move(state)),
        resource_(std::move(resource)),
        options_(std::move(options)),
        bell_(std::move(bell)),
        position_(options_.resource_version),
        breaks_(breaks) {}

  Task<Result<std::vector<WatchEvent>>> next() override {
    while (true) {
      std::vector<WatchEvent> out;
      {
        std::lock_guard lock(state_->mutex);
        if (state_->breaks != breaks_) co_return fail(state_->break_error);
        auto& shelf = state_->shelves[resource_];
        if (position_ < shelf.compacted) co_return fail(Code::kExpired, "too old resource version");
        auto from =
            std::upper_bound(shelf.history.begin(), shelf.history.end(), position_,
                             [](std::int64_t at, const Record& record) { return at < record.event.resource_version; });
        for (; from != shelf.history.end(); ++from) select(*from, out);
        position_ = std::max(position_, shelf.history.empty() ? 0 : shelf.history.back().event.resource_version);
      }
      if (!out.empty()) co_return out;
      co_await bell_->event.wait();
    }
  }

 private:
  bool matches(const ObjectPtr& object) const {
    if (!object) return false;
    if (!options_.ns.empty() && object->ns() != options_.ns) return false;
    if (!labels_match(options_.label_selector, object->labels())) return false;
    return options_.field_selector.empty() || fields_match(options_.field_selector, object->parse());
  }

  // An object that moves out of the selection is deleted for this watcher, and added when it moves in.
  void select(const Record& record, std::vector<WatchEvent>& out) const {
    const bool was = matches(record.before);
    const bool is = record.event.type != WatchEvent::Type::kDeleted && matches(record.event.object);
    WatchEvent event = record.event;
    if (!was && !is) return;
    event.type = !was ? WatchEvent::Type::kAdded : is ? WatchEvent::Type::kModified : WatchEvent::Type::kDeleted;
    out.push_back(std::move(event));
  }

  std::shared_ptr<FakeClient::State> state_;
  std::string resource_;
  client::WatchOptions options_;
  std::shared_ptr<Bell> bell_;
  std::int64_t position_;
  int breaks_;
};

FakeClient::Call call_of(const char* verb, const Resource& resource, std::string ns, std::string name,
                         std::string subresource = {}, Json body = {}) {
  return {verb, resource.group_resource(), std::move(ns), std::move(name), std::move(subresource), std::move(body)};
}

}  // namespace

Task<Result<ObjectPtr>> FakeClient::get(const Resource& resource, std::string ns, std::string name) {
  auto state = state_;
  co_await yield_now();
  if (auto error = state->enter(call_of("get", resource, ns, name))) co_return fail(*error);
  std::lock_guard lock(state->mutex);
  auto object = state->lookup(resource.group_resource(), key_of(ns, name));
  if (!object) co_return not_found(resource, name);
  co_return object;
}

void FakeClient::set_raw(const std::string& path, Json answer) {
  std::lock_guard lock(state_->mutex);
  state_->raw[path] = std::move(answer);
}

Task<Result<Json>> FakeClient::get_raw(std::string path) {
  auto state = state_;
  co_await yield_now();
  std::lock_guard lock(state->mutex);
  const auto found = state->raw.find(path);
  if (found == state->raw.end() || found->second.is_null()) {
    co_return fail(Code::kNotFound, "the server could not find the requested resource");
  }
  co_return found->second;
}

Task<Result<Json>> FakeClient::get_subresource(const Resource& resource, std::string ns, std::string name,
                                               std::string subresource) {
  auto state = state_;
  co_await yield_now();
  auto call = call_of("get", resource, ns, name);
  call.subresource = subresource;
  if (auto error = state->enter(std::move(call))) co_return fail(*error);
  std::lock_guard lock(state->mutex);
  if (resource.subresource(subresource) == nullptr || subresource != "scale") {
    co_return fail(Code::kNotFound, "the server could not find the requested resource");
  }
  const auto object = state->lookup(resource.group_resource(), key_of(ns, name));
  if (!object) co_return not_found(resource, name);
  const Json value = object->parse();
  const Json& selector = at(value, "spec", "selector");
  const auto parsed = resource.kind == "ReplicationController" ? api::LabelSelector::from_map(selector)
                                                               : api::LabelSelector::from_json(selector);
  const auto text = Result<api::LabelSelector>(parsed);
  Json scale{{"kind", "Scale"}, {"apiVersion", "autoscaling/v1"}, {"metadata", at(value, "metadata")}};
  scale["spec"]["replicas"] = num(at(value, "spec"), "replicas");
  scale["status"]["replicas"] = num(at(value, "status"), "replicas");
  scale["status"]["selector"] = text ? text->to_string() : std::string();
  co_return scale;
}

Task<Result<client::List>> FakeClient::list(const Resource& resource, client::ListOptions options) {
  auto state = state_;
  co_await yield_now();
  if (auto error = state->enter(call_of("list", resource, options.ns, ""))) co_return fail(*error);
  std::lock_guard lock(state->mutex);
  client::List out;
  out.resource_version = state->revision;
  for (const auto& [key, object] : state->shelves[resource.group_resource()].objects) {
    if (!options.ns.empty() && object->ns() != options.ns) continue;
    if (!labels_match(options.label_selector, object->labels())) continue;
    if (!options.field_selector.empty() && !fields_match(options.field_selector, object->parse())) continue;
    if (!options.continue_token.empty() && key <= options.continue_token) continue;
    if (options.limit > 0 && static_cast<std::int64_t>(out.items.size()) == options.limit) {
      out.continue_token = out.items.back()->key();
      break;
    }
    out.items.push_back(object);
  }
  co_return out;
}

Task<Result<std::unique_ptr<client::Watch>>> FakeClient::watch(const Resource& resource, client::WatchOptions options) {
  auto state = state_;
  co_await yield_now();
  if (auto error = state->enter(call_of("watch", resource, options.ns, ""))) co_return fail(*error);
  auto bell = std::make_shared<Bell>(co_await boost::asio::this_coro::executor);
  std::lock_guard lock(state->mutex);
  if (options.resource_version < state->shelves[resource.group_resource()].compacted) {
    co_return fail(Code::kExpired, "too old resource version");
  }
  state->bells.push_back(bell);
  co_return std::make_unique<FakeWatch>(state, resource.group_resource(), std::move(options), bell, state->breaks);
}

Task<Result<ObjectPtr>> FakeClient::create(const Resource& resource, std::string ns, Json body,
                                           client::WriteOptions options) {
  auto state = state_;
  co_await yield_now();
  std::string name(str(at(body, "metadata"), "name"));
  if (auto error = state->enter(call_of("create", resource, ns, name, options.subresource, body))) {
    co_return fail(*error);
  }
  std::lock_guard lock(state->mutex);
  auto& meta = body["metadata"];
  if (name.empty()) name = std::string(str(meta, "generateName")) + random_suffix(5);
  const auto shelf = resource.group_resource();
  if (state->lookup(shelf, key_of(ns, name))) {
    co_return fail(Code::kAlreadyExists, shelf + " \"" + name + "\" already exists");
  }
  meta["name"] = name;
  if (resource.namespaced) meta["namespace"] = ns;
  meta["uid"] = new_uid();
  meta["creationTimestamp"] = state->timestamp();
  meta["generation"] = 1;
  body["apiVersion"] = resource.api_version();
  body["kind"] = std::string(resource.kind);
  if (resource.subresource("status") != nullptr) body.erase("status");
  if (resource.kind == "Pod") body["status"] = {{"phase", "Pending"}};
  if (resource.kind == "Namespace") {
    body["spec"]["finalizers"] = Json::array({"kubernetes"});
    body["status"]["phase"] = "Active";
  }
  if (options.dry_run) co_return make_object(body);
  co_return state->put(shelf, std::move(body));
}

Task<Result<Json>> FakeClient::create_subresource(const Resource& resource, std::string ns, std::string name,
                                                  std::string subresource, Json body) {
  auto state = state_;
  co_await yield_now();
  if (auto error = state->enter(call_of("create", resource, ns, name, subresource, body))) co_return fail(*error);
  std::lock_guard lock(state->mutex);
  auto object = state->lookup(resource.group_resource(), key_of(ns, name));
  if (!object) co_return not_found(resource, name);
  if (subresource == "binding") {
    Json pod = object->parse();
    if (object->deleting()) co_return fail(Code::kConflict, "pod " + name + " is being deleted, cannot be assigned");
    if (!str(at(pod, "spec"), "nodeName").empty()) {
      co_return fail(Code::kConflict, "pod " + name + " is already assigned to node");
    }
    pod["spec"]["nodeName"] = at(body, "target", "name");
    merge_strategic(pod["status"], {{"conditions", Json::array({{{"type", "PodScheduled"},
                                                                 {"status", "True"},
                                                                 {"reason", nullptr},
                                                                 {"message", nullptr},
                                                                 {"lastTransitionTime", state->timestamp()}}})}});
    state->put("pods", std::move(pod));
    co_return Json{{"kind", "Status"}, {"apiVersion", "v1"}, {"status", "Success"}};
  }
  if (subresource == "eviction") {
    if (auto removed = state->remove(resource, object, {}); !removed) co_return fail(removed.error());
    co_return Json{{"kind", "Status"}, {"apiVersion", "v1"}, {"status", "Success"}};
  }
  if (subresource == "token") {
    body["status"] = {{"token", "fake-token-of-" + ns + "-" + name + "-" + std::to_string(++state->revision)},
                      {"expirationTimestamp", format_rfc3339(state->clock.now() + std::chrono::hours(1))}};
    co_return body;
  }
  co_return fail(Code::kMethodNotAllowed, "the fake has no " + subresource);
}

Task<Result<ObjectPtr>> FakeClient::update(const Resource& resource, std::string ns, std::string name, Json body,
                                           client::WriteOptions options) {
  auto state = state_;
  co_await yield_now();
  if (auto error = state->enter(call_of("update", resource, ns, name, options.subresource, body))) {
    co_return fail(*error);
  }
  std::lock_guard lock(state->mutex);
  auto object = state->lookup(resource.group_resource(), key_of(ns, name));
  if (!object) co_return not_found(resource, name);
  co_return state->write(resource, object, std::move(body), options.subresource);
}

Task<Result<ObjectPtr>> FakeClient::patch(const Resource& resource, std::string ns, std::string name,
                                          client::PatchType type, Json patch, client::WriteOptions options) {
  auto state = state_;
  co_await yield_now();
  if (auto error = state->enter(call_of("patch", resource, ns, name, options.subresource, patch))) {
    co_return fail(*error);
  }
  std::unique_lock lock(state->mutex);
  auto object = state->lookup(resource.group_resource(), key_of(ns, name));
  if (!object && type == client::PatchType::kApply) {
    lock.unlock();
    patch["metadata"]["name"] = name;
    co_return co_await create(resource, ns, std::move(patch), options);
  }
  if (!object) co_return not_found(resource, name);
  Json body = object->parse();
  body["metadata"].erase("resourceVersion");
  switch (type) {
    case client::PatchType::kJson: try { body = body.patch(patch);
      } catch (const Json::exception& e) {
        co_return fail(Code::kInvalid, e.what());
      }
      break;
    case client::PatchType::kMerge: body.merge_patch(patch); break;
    case client::PatchType::kStrategic:
    case client::PatchType::kApply: merge_strategic(body, patch); break;
  }
  co_return state->write(resource, object, std::move(body), options.subresource);
}

Task<Status> FakeClient::remove(const Resource& resource, std::string ns, std::string name,
                                client::DeleteOptions options) {
  auto state = state_;
  co_await yield_now();
  Json body = {{"propagationPolicy", options.propagation_policy}, {"uid", options.uid}};
  if (auto error = state->enter(call_of("delete", resource, ns, name, "", body))) co_return fail(*error);
  std::lock_guard lock(state->mutex);
  auto object = state->lookup(resource.group_resource(), key_of(ns, name));
  if (!object) co_return not_found(resource, name);
  co_return state->remove(resource, object, options);
}

Task<Status> FakeClient::remove_collection(const Resource& resource, client::ListOptions which,
                                           client::DeleteOptions options) {
  auto state = state_;
  co_await yield_now();
  if (auto error = state->enter(call_of("deletecollection", resource, which.ns, ""))) co_return fail(*error);
  std::lock_guard lock(state->mutex);
  std::vector<ObjectPtr> doomed;
  for (const auto& [key, object] : state->shelves[resource.group_resource()].objects) {
    if (!which.ns.empty() && object->ns() != which.ns) continue;
    if (!labels_match(which.label_selector, object->labels())) continue;
    if (!which.field_selector.empty() && !fields_match(which.field_selector, object->parse())) continue;
    doomed.push_back(object);
  }
  for (const auto& object : doomed) BRUME_CO_CHECK(state->remove(resource, object, options));
  co_return Status{};
}

}  // namespace brume::test
