#include "cmd/addons.h"

#include "brume/api/decode.h"
#include "brume/base/crypto.h"
#include "brume/base/json.h"
#include "brume/base/task.h"

namespace brume::cmd {

namespace {

/// Which manifest an add-on's object was made from.
constexpr const char* kManifestAnnotation = "brume.dev/manifest";

Result<std::string> substitute(std::string text, const std::map<std::string, std::string>& values) {
  std::size_t from = 0;
  while ((from = text.find("${", from)) != std::string::npos) {
    const auto end = text.find('}', from);
    const auto it = values.find(text.substr(from + 2, end == std::string::npos ? end : end - from - 2));
    if (it == values.end()) return fail(Code::kInternal, "a manifest names an unknown value: " + text.substr(from, 40));
    text.replace(from, end + 1 - from, it->second);
    from += it->second.size();
  }
  return text;
}

Task<Status> apply_one(client::Client& client, Json object) {
  const auto* resource = api::find_kind(str(object, "apiVersion"), str(object, "kind"));
  if (resource == nullptr) co_return fail(Code::kInternal, "no such kind: " + std::string(str(object, "kind")));
  const std::string hash = sha256_hex(dump_json(object)).substr(0, 16);
  object["metadata"]["annotations"][kManifestAnnotation] = hash;
  const std::string ns(str(at(object, "metadata"), "namespace"));
  const std::string name(str(at(object, "metadata"), "name"));
  auto existing = co_await client.get(*resource, ns, name);
  if (!existing && existing.error().code != Code::kNotFound) co_return fail(existing.error());
  if (!existing) {
    auto created = co_await client.create(*resource, ns, std::move(object));
    if (!created) co_return fail(wrap(created.error(), std::string(resource->kind) + " " + name));
    co_return Status();
  }
  const Json there = (*existing)->parse();
  if (str(at(there, "metadata", "annotations"), kManifestAnnotation) == hash) co_return Status();
  auto patched = co_await client.patch(*resource, ns, name, client::PatchType::kStrategic, std::move(object));
  if (!patched) co_return fail(wrap(patched.error(), std::string(resource->kind) + " " + name));
  co_return Status();
}

Task<Status> remove_one(client::Client& client, Json object) {
  const auto* resource = api::find_kind(str(object, "apiVersion"), str(object, "kind"));
  if (resource == nullptr) co_return fail(Code::kInternal, "no such kind: " + std::string(str(object, "kind")));
  const std::string ns(str(at(object, "metadata"), "namespace"));
  const std::string name(str(at(object, "metadata"), "name"));
  auto existing = co_await client.get(*resource, ns, name);
  if (!existing) co_return existing.error().code == Code::kNotFound ? Status() : Status(fail(existing.error()));
  const Json there = (*existing)->parse();
  if (str(at(there, "metadata", "annotations"), kManifestAnnotation).empty()) co_return Status();
  auto removed = co_await client.remove(*resource, ns, name);
  if (!removed) co_return fail(wrap(removed.error(), std::string(resource->kind) + " " + name));
  co_return Status();
}

using Each = Task<Status> (*)(client::Client&, Json);

Task<Status> for_each_object(client::Client& client, std::string manifest, std::map<std::string, std::string> values,
                             Each work) {
  auto text = substitute(std::move(manifest), values);
  if (!text) co_return fail(text.error());
  auto documents = api::decode_yaml_documents(*text);
  if (!documents) co_return fail(documents.error());
  Status first;
  for (auto& document : *documents) {
    auto done = co_await work(client, std::move(document));
    if (!done && first) first = std::move(done);
  }
  co_return first;
}

}  // namespace

Task<Status> apply_manifest(client::Client& client, std::string manifest, std::map<std::string, std::string> values) {
  return for_each_object(client, std::move(manifest), std::move(values), &apply_one);
}

Task<Status> remove_manifest(client::Client& client, std::string manifest, std::map<std::string, std::string> values) {
  return for_each_object(client, std::move(manifest), std::move(values), &remove_one);
}

}  // namespace brume::cmd
