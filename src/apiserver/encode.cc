#include "encode.h"

#include "brume/api/encode.h"
#include "brume/api/table.h"
#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "errors.h"
#include "scan.h"

namespace brume::apiserver {

namespace {

std::string_view metadata_of(const api::Object& object) { return scan_raw(object.bytes(), {"metadata"}); }

void append_partial_head(std::string& out, std::string_view version) {
  out.append(R"({"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/)").append(version);
  out.append(R"(","metadata":)");
}

void append_partial(std::string& out, const api::Object& object, std::string_view version) {
  append_partial_head(out, version);
  out.append(metadata_of(object)).push_back('}');
}

void append_columns(std::string& out, const api::Resource& resource) {
  Json columns = Json::array();
  for (const api::TableColumn& column : api::table_columns(resource)) {
    columns.push_back(Json{{"name", column.name},
                           {"type", column.type},
                           {"format", column.format},
                           {"description", column.description},
                           {"priority", column.priority}});
  }
  out += dump_json(columns);
}

void append_row(std::string& out, const Encoding& encoding, const api::Object& object) {
  out += R"({"cells":)";
  out += dump_json(api::table_cells(*encoding.resource, object.parse(), encoding.now));
  if (encoding.include_object == "Object") {
    out.append(R"(,"object":)").append(object.bytes());
  } else if (encoding.include_object != "None") {
    out += R"(,"object":)";
    append_partial(out, object, encoding.format.meta_version);
  }
  out.push_back('}');
}

void open_table(std::string& out, const Encoding& encoding, std::string_view list_metadata, bool headers) {
  out.append(R"({"kind":"Table","apiVersion":"meta.k8s.io/)").append(encoding.format.meta_version);
  out.append(R"(","metadata":)").append(list_metadata).append(R"(,"columnDefinitions":)");
  if (headers) {
    append_columns(out, *encoding.resource);
  } else {
    out += "null";
  }
  out += R"(,"rows":[)";
}

std::string revision_metadata(std::int64_t revision) {
  if (revision == 0) return "{}";
  return R"({"resourceVersion":")" + std::to_string(revision) + "\"}";
}

std::string page_metadata(const ListPage& page) {
  if (page.resource_version == 0) return "{}";  // of what is computed
  std::string out = R"({"resourceVersion":")" + std::to_string(page.resource_version) + '"';
  if (!page.continue_token.empty()) {
    out += R"(,"continue":")" + page.continue_token + '"';
    if (page.remaining >= 0) out += R"(,"remainingItemCount":)" + std::to_string(page.remaining);
  }
  return out + "}";
}

void append_shaped(std::string& out, const Encoding& encoding, const api::Object& object, bool headers) {
  switch (encoding.format.shape) {
    case Shape::kObject: out += object.bytes(); break;
    case Shape::kPartial: append_partial(out, object, encoding.format.meta_version); break;
    case Shape::kTable:
      open_table(out, encoding, revision_metadata(object.resource_version()), headers);
      append_row(out, encoding, object);
      out += "]}";
      break;
  }
}

}  // namespace

std::string encode_object(const Encoding& encoding, const api::Object& object) {
  if (encoding.format.shape == Shape::kObject) return object.bytes();
  std::string out;
  append_shaped(out, encoding, object, true);
  return out;
}

void encode_list(const Encoding& encoding, ListPage page, http::Response& answer) {
  std::string& out = answer.body;
  const std::string metadata = page_metadata(page);
  const std::string& meta_version = encoding.format.meta_version;
  if (encoding.format.shape == Shape::kTable) {
    open_table(out, encoding, metadata, true);
    for (const api::ObjectPtr& object : page.items) {
      append_row(out, encoding, *object);
      out.push_back(',');
    }
    if (!page.items.empty()) out.pop_back();
    out += "]}";
    return;
  }
  const bool partial = encoding.format.shape == Shape::kPartial;
  const std::string kind(partial ? "PartialObjectMetadata" : std::string_view(encoding.resource->kind));
  const std::string version = partial ? "meta.k8s.io/" + meta_version : encoding.resource->api_version();
  out.append(R"({"kind":")").append(kind).append(R"(List","apiVersion":")").append(version);
  out.append(R"(","metadata":)").append(metadata).append(R"(,"items":[)");
  struct Owner {
    std::vector<api::ObjectPtr> items;
    std::string before = ",";
  };
  auto owner = std::make_shared<Owner>(std::move(page.items));
  if (partial) append_partial_head(owner->before, meta_version);
  answer.more.reserve(owner->items.size() * (partial ? 3 : 2) + 1);
  for (const api::ObjectPtr& object : owner->items) {
    answer.more.push_back(std::string_view(owner->before).substr(answer.more.empty() ? 1 : 0));
    answer.more.push_back(partial ? metadata_of(*object) : std::string_view(object->bytes()));
    if (partial) answer.more.emplace_back("}");
  }
  answer.more.emplace_back("]}");
  answer.more_owner = std::move(owner);
}

void write_as_yaml(http::Response& answer) {
  for (const std::string_view part : std::exchange(answer.more, {})) answer.body += part;
  answer.more_owner.reset();
  const auto value = parse_json(answer.body);
  if (!value) return;  // our own JSON always is
  answer.body = api::encode_yaml(*value);
  answer.headers.set("Content-Type", "application/yaml");
}

void WatchEncoder::append(std::string& out, const WatchEvent& event) {
  using Type = WatchEvent::Type;
  if (event.type == Type::kBookmark || !event.object) {
    append_bookmark(out, event.revision, event.initial_events_end);
    return;
  }
  const std::string_view type = event.type == Type::kAdded      ? "ADDED"
                                : event.type == Type::kModified ? "MODIFIED"
                                                                : "DELETED";
  out.append(R"({"type":")").append(type).append(R"(","object":)");
  append_shaped(out, encoding_, *event.object, !headers_sent_);
  headers_sent_ = true;
  out += "}\n";
}

void WatchEncoder::append_bookmark(std::string& out, std::int64_t revision, bool initial_events_end) {
  std::string metadata = R"({"resourceVersion":")" + std::to_string(revision) + '"';
  if (initial_events_end) metadata += R"(,"annotations":{"k8s.io/initial-events-end":"true"})";
  metadata += "}";
  out += R"({"type":"BOOKMARK","object":)";
  switch (encoding_.format.shape) {
    case Shape::kTable:
      open_table(out, encoding_, revision_metadata(revision), !headers_sent_);
      headers_sent_ = true;
      if (initial_events_end) {  // a table has no annotations: the row's object carries the mark
        out += R"({"cells":[],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":)" +
               metadata + "}}";
      }
      out += "]}";
      break;
    case Shape::kPartial:
      append_partial_head(out, encoding_.format.meta_version);
      out.append(metadata).push_back('}');
      break;
    case Shape::kObject:
      out.append(R"({"kind":")").append(encoding_.resource->kind).append(R"(","apiVersion":")");
      out.append(encoding_.resource->api_version()).append(R"(","metadata":)").append(metadata).push_back('}');
      break;
  }
  out += "}\n";
}

void WatchEncoder::append_error(std::string& out, const Error& error) {
  out.append(R"({"type":"ERROR","object":)").append(status_failure(error, {})).append("}\n");
}

std::string status_failure(const Error& error, const StatusDetails& details) {
  Json status{{"kind", "Status"},    {"apiVersion", "v1"},       {"metadata", Json::object()},
              {"status", "Failure"}, {"message", error.message}, {"code", http_status_of(error.code)}};
  if (!tells_no_reason(error)) status["reason"] = reason_of(error.code);
  Json more = Json::object();
  if (!details.name.empty()) more["name"] = details.name;
  if (!details.group.empty()) more["group"] = details.group;
  if (!details.kind.empty()) more["kind"] = details.kind;
  for (const Cause& cause : error.causes) {
    Json entry = Json::object();
    if (!cause.reason.empty()) entry["reason"] = cause.reason;
    if (!cause.message.empty()) entry["message"] = cause.message;
    if (!cause.field.empty()) entry["field"] = cause.field;
    more["causes"].push_back(std::move(entry));
  }
  if (error.retry_after_seconds > 0) more["retryAfterSeconds"] = error.retry_after_seconds;
  if (!more.empty()) status["details"] = std::move(more);
  return dump_json(status);
}

std::string status_success(const StatusDetails& details) {
  Json status{{"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", Json::object()}, {"status", "Success"}};
  Json more{{"name", details.name}, {"kind", details.kind}};
  if (!details.group.empty()) more["group"] = details.group;
  if (!details.uid.empty()) more["uid"] = details.uid;
  status["details"] = std::move(more);
  return dump_json(status);
}

}  // namespace brume::apiserver
