#include "brume/api/object.h"

#include <algorithm>

#include "api/json_cursor.h"
#include "brume/base/json.h"
#include "brume/base/strings.h"

namespace brume::api {

namespace {

constexpr std::string_view kRevisionKey = "resourceVersion";

struct Header {
  std::string api_version, kind, ns, name, uid, resource_version, deletion_timestamp, creation_timestamp;
  std::int64_t generation = 0;
  StringMap labels;
  std::vector<OwnerReference> owners;
  std::vector<std::string> finalizers;
  bool has_metadata = false;
  bool metadata_empty = true;
  bool splice_first = true;                // resourceVersion would be the first key of metadata
  std::size_t spec_at = 0, status_at = 0;  // where these values begin
  std::size_t splice = 0;                  // where it belongs: after the brace, or after the value before it
  std::size_t old_begin = 0, old_end = 0;  // the value of a resourceVersion that is there already
};

bool read_owner(JsonCursor& in, Header& out) {
  OwnerReference owner;
  bool read = in.object([&](std::string_view key) {
    if (key == "apiVersion") return owner.api_version = in.string_or_empty(), true;
    if (key == "kind") return owner.kind = in.string_or_empty(), true;
    if (key == "name") return owner.name = in.string_or_empty(), true;
    if (key == "uid") return owner.uid = in.string_or_empty(), true;
    if (key == "controller") return owner.controller = in.boolean(), true;
    if (key == "blockOwnerDeletion") return owner.block_owner_deletion = in.boolean(), true;
    return in.skip(), true;
  });
  if (read) out.owners.push_back(std::move(owner));
  return read;
}

bool read_labels(JsonCursor& in, Header& out) {
  return in.object([&](std::string_view key) { return out.labels.emplace_back(key, in.string_or_empty()), true; });
}

// One member of metadata; the cursor stands at its value.
bool read_metadata_member(JsonCursor& in, std::string_view key, Header& out) {
  bool null = in.peek() == 'n';
  if (null) return in.skip(), true;
  if (key == "name") return out.name = in.string_or_empty(), true;
  if (key == "namespace") return out.ns = in.string_or_empty(), true;
  if (key == "uid") return out.uid = in.string_or_empty(), true;
  if (key == "generation") return out.generation = in.integer(), true;
  if (key == "creationTimestamp") return out.creation_timestamp = in.string_or_empty(), true;
  if (key == "deletionTimestamp") return out.deletion_timestamp = in.string_or_empty(), true;
  if (key == "labels") return read_labels(in, out);
  if (key == "ownerReferences") return in.array([&] { return read_owner(in, out); });
  if (key == "finalizers") {
    return in.array([&] { return out.finalizers.push_back(in.string_or_empty()), true; });
  }
  if (key == kRevisionKey) {
    out.old_begin = in.position();
    out.resource_version = in.string_or_empty();
    out.old_end = in.position();
    return true;
  }
  return in.skip(), true;
}

bool read_metadata(JsonCursor& in, Header& out) {
  out.has_metadata = true;
  static_cast<void>(in.peek());  // to the brace
  out.splice = in.position() + 1;
  return in.object([&](std::string_view key) {
    out.metadata_empty = false;
    const bool before_revision = key < kRevisionKey;
    bool good = read_metadata_member(in, key, out);
    if (before_revision) {
      out.splice = in.position();
      out.splice_first = false;
    }
    return good;
  });
}

// Reads the header fields; false if the text is no object or a field is of a wrong type.
bool read_header(std::string_view bytes, Header& out) {
  JsonCursor in(bytes);
  bool read = in.object([&](std::string_view key) {
    if (key == "apiVersion") return out.api_version = in.string_or_empty(), true;
    if (key == "kind") return out.kind = in.string_or_empty(), true;
    if (key == "metadata") return in.peek() == '{' && read_metadata(in, out);
    if (key == "spec") out.spec_at = in.position();
    if (key == "status") out.status_at = in.position();
    return in.skip(), true;
  });
  std::sort(out.labels.begin(), out.labels.end());
  return read && out.has_metadata;
}

std::string with_revision(std::string_view bytes, const Header& header, std::int64_t revision) {
  std::string value = '"' + std::to_string(revision) + '"';
  std::string out;
  out.reserve(bytes.size() + value.size() + 24);
  if (header.old_end > 0) {
    return out.append(bytes.substr(0, header.old_begin)).append(value).append(bytes.substr(header.old_end));
  }
  out.append(bytes.substr(0, header.splice));
  if (!header.splice_first) out += ',';
  out.append("\"resourceVersion\":").append(value);
  if (header.splice_first && !header.metadata_empty) out += ',';
  return out.append(bytes.substr(header.splice));
}

}  // namespace

// Moves a scanned header into an Object.
struct ObjectBuilder {
  static void fill(Object& object, Header&& header) {
    object.api_version_ = std::move(header.api_version);
    object.kind_ = std::move(header.kind);
    object.ns_ = std::move(header.ns);
    object.name_ = std::move(header.name);
    object.uid_ = std::move(header.uid);
    object.spec_at_ = static_cast<std::uint32_t>(header.spec_at);
    object.status_at_ = static_cast<std::uint32_t>(header.status_at);
    object.resource_version_ = parse_int(header.resource_version).value_or(0);
    object.generation_ = header.generation;
    object.labels_ = std::move(header.labels);
    object.owners_ = std::move(header.owners);
    object.finalizers_ = std::move(header.finalizers);
    object.deletion_timestamp_ = std::move(header.deletion_timestamp);
    object.creation_timestamp_ = std::move(header.creation_timestamp);
  }
};

Result<ObjectPtr> Object::from_json(const Json& value) {
  if (!value.is_object() || !at(value, "metadata").is_object()) {
    return fail(Code::kBadRequest, "the object has no metadata");
  }
  std::shared_ptr<Object> object(new Object());
  object->bytes_ = dump_json(value);
  Header header;
  if (!read_header(object->bytes_, header)) {
    return fail(Code::kBadRequest, "the object's metadata has a field of a wrong type");
  }
  ObjectBuilder::fill(*object, std::move(header));
  return ObjectPtr(std::move(object));
}

Result<ObjectPtr> Object::from_stored(std::string_view bytes, std::int64_t revision) {
  Header header;
  if (!read_header(bytes, header)) return fail(Code::kCorrupt, "a stored object is not valid");
  std::shared_ptr<Object> object(new Object());
  object->bytes_ = with_revision(bytes, header, revision);
  // Both stand behind the metadata, which has grown.
  for (auto* at : {&header.spec_at, &header.status_at}) {
    if (*at > header.splice) *at += object->bytes_.size() - bytes.size();
  }
  ObjectBuilder::fill(*object, std::move(header));
  object->resource_version_ = revision;
  return ObjectPtr(std::move(object));
}

Json Object::parse() const {
  auto value = parse_json(bytes_);
  return value ? std::move(*value) : Json::object();
}

std::string Object::key() const { return ns_.empty() ? name_ : ns_ + '/' + name_; }

std::string_view Object::label(std::string_view key) const {
  auto it = std::lower_bound(labels_.begin(), labels_.end(), key,
                             [](const auto& pair, std::string_view wanted) { return pair.first < wanted; });
  return it != labels_.end() && it->first == key ? std::string_view(it->second) : std::string_view();
}

const OwnerReference* Object::controller() const {
  for (const auto& owner : owners_) {
    if (owner.controller) return &owner;
  }
  return nullptr;
}

std::string stored_bytes(Json value) {
  if (value.is_object()) {
    auto metadata = value.find("metadata");
    if (metadata != value.end() && metadata->is_object()) {
      metadata->erase("resourceVersion");
      metadata->erase("selfLink");
    }
  }
  return dump_json(value);
}

}  // namespace brume::api
