#include "history.h"

#include <algorithm>
#include <tuple>

namespace brume::controller {

namespace {

constexpr std::size_t kLongestPrefix = 223;  // of a name, so that a hash fits (ControllerRevisionName upstream)
constexpr std::string_view kReplace = "$patch";

bool before(const Revision& a, const Revision& b) {
  const auto order = [](const Revision& r) {
    return std::tie(r.number, r.object->creation_timestamp(), r.object->name());
  };
  return order(a) < order(b);
}

std::string revision_name(const Object& owner, const std::string& hash) {
  return owner.name().substr(0, kLongestPrefix) + "-" + hash;
}

}  // namespace

Json Revision::pod_template() const {
  Json out = at(object->parse(), "data", "spec", "template");
  if (out.is_object()) out.erase(std::string(kReplace));
  return out;
}

Json revision_data(const Json& pod_template) {
  Json replaced = pod_template;
  replaced[std::string(kReplace)] = "replace";
  return {{"spec", {{"template", std::move(replaced)}}}};
}

Revision decode_revision(const ObjectPtr& object) {
  const Json value = object->parse();
  return {.object = object, .number = num(value, "revision"), .data = dump_json(at(value, "data"))};
}

std::int64_t next_number(const Revisions& revisions) { return revisions.empty() ? 1 : revisions.back().number + 1; }

Revisions surplus(const Revisions& revisions, std::int64_t limit, const std::function<bool(const Revision&)>& live) {
  Revisions out;
  if (limit < 0) return out;
  auto excess = static_cast<std::int64_t>(revisions.size()) - limit;
  for (const auto& revision : revisions) {
    if (excess <= 0) break;
    if (live(revision)) continue;
    out.push_back(revision);
    --excess;
  }
  return out;
}

History::History(client::Client& client, DependentWatch watch, std::string hash_label)
    : client_(client),
      revisions_(watch.dependents),
      owners_(watch.owners),
      hash_label_(std::move(hash_label)),
      writes_(revisions_) {
  revisions_.add_index(kByController, index_by_controller);
  watch_dependents(std::move(watch));
}

Task<Result<Revisions>> History::of(ObjectPtr owner, api::LabelSelector selector) {
  const auto all = [](const ObjectPtr&) { return true; };
  BRUME_CO_TRY(const auto claimed, co_await claim(client_, revisions_, owners_.resource(), owner, selector, all));
  Revisions out;
  for (const auto& object : claimed) {
    const auto now = revisions_.get(object->key());
    if (now && now->uid() == object->uid() && !now->deleting()) out.push_back(decode_revision(now));
  }
  std::sort(out.begin(), out.end(), before);
  co_return out;
}

Task<Result<Revision>> History::create(ObjectPtr owner, Json pod_template, std::int64_t number,
                                       std::int64_t& collisions) {
  const Json owner_value = owner->parse();
  const Json data = revision_data(pod_template);
  const auto bytes = dump_json(data);
  Json labels = at(pod_template, "metadata", "labels");
  if (!labels.is_object()) labels = Json::object();
  while (true) {
    const auto hash = name_hash(bytes, collisions);
    const auto name = revision_name(*owner, hash);
    labels[hash_label_] = hash;
    Json body = {{"metadata",
                  {{"name", name},
                   {"namespace", owner->ns()},
                   {"labels", labels},
                   {"ownerReferences", Json::array({client::controller_reference(*owner)})}}},
                 {"data", data},
                 {"revision", number}};
    const auto& annotations = at(owner_value, "metadata", "annotations");
    if (!annotations.empty()) body["metadata"]["annotations"] = annotations;
    auto created = co_await client_.create(revisions_.resource(), owner->ns(), std::move(body));
    if (created) {
      writes_.created(owner->key(), (*created)->resource_version());
      co_return decode_revision(*created);
    }
    if (created.error().code != Code::kAlreadyExists) co_return fail(created.error());
    // Our own that the copy lacks; or another template of the same hash, or one of an earlier owner of the name.
    BRUME_CO_TRY(const auto there, co_await client_.get(revisions_.resource(), owner->ns(), name));
    auto found = decode_revision(there);
    const bool foreign = there->controller() != nullptr && there->controller()->uid != owner->uid();
    if (found.data == bytes && !foreign) co_return found;
    ++collisions;
  }
}

Task<Result<Revision>> History::patch(ObjectPtr owner, Revision revision, Json patch) {
  patch["metadata"]["uid"] = revision.object->uid();
  BRUME_CO_TRY(const auto now, co_await client_.patch(revisions_.resource(), owner->ns(), revision.name(),
                                                      client::PatchType::kMerge, std::move(patch)));
  writes_.created(owner->key(), now->resource_version());
  co_return decode_revision(now);
}

Task<Result<Revision>> History::renumber(ObjectPtr owner, Revision revision, std::int64_t number) {
  if (revision.number == number) co_return revision;
  Json change = {{"revision", number}};
  co_return co_await patch(std::move(owner), std::move(revision), std::move(change));
}

Task<Result<Revision>> History::label(ObjectPtr owner, Revision revision, std::string hash) {
  Json change = {{"metadata", {{"labels", {{hash_label_, std::move(hash)}}}}}};
  co_return co_await patch(std::move(owner), std::move(revision), std::move(change));
}

Task<Status> History::remove(ObjectPtr owner, Revisions doomed) {
  for (const auto& revision : doomed) {
    auto done = co_await client_.remove(revisions_.resource(), revision.object->ns(), revision.name(),
                                        {.uid = revision.object->uid()});
    if (!done && done.error().code != Code::kNotFound) co_return fail(done.error());
    writes_.deleting(owner->key(), revision.object);
  }
  co_return Status{};
}

}  // namespace brume::controller
