#include <algorithm>
#include <array>
#include <optional>

#include "api/json_cursor.h"
#include "brume/api/selector.h"
#include "brume/base/json.h"
#include "brume/base/strings.h"

namespace brume::api {

namespace {

std::unexpected<Error> bad(std::string message) { return fail(Code::kBadRequest, std::move(message)); }

// A field that a resource offers: its name in selectors, where it stands in the object and what its absence means.
struct Selectable {
  std::string_view group, plural, field, path, absent;
};

constexpr std::array kSelectable = {
    Selectable{"", "pods", "spec.nodeName", "spec.nodeName", ""},
    Selectable{"", "pods", "spec.restartPolicy", "spec.restartPolicy", ""},
    Selectable{"", "pods", "spec.schedulerName", "spec.schedulerName", ""},
    Selectable{"", "pods", "spec.serviceAccountName", "spec.serviceAccountName", ""},
    Selectable{"", "pods", "spec.hostNetwork", "spec.hostNetwork", "false"},
    Selectable{"", "pods", "status.phase", "status.phase", ""},
    Selectable{"", "pods", "status.podIP", "status.podIP", ""},
    Selectable{"", "pods", "status.podIPs", "status.podIP", ""},
    Selectable{"", "pods", "status.nominatedNodeName", "status.nominatedNodeName", ""},
    Selectable{"", "nodes", "spec.unschedulable", "spec.unschedulable", "false"},
    Selectable{"", "namespaces", "status.phase", "status.phase", ""},
    Selectable{"", "secrets", "type", "type", ""},
    Selectable{"", "services", "spec.clusterIP", "spec.clusterIP", ""},
    Selectable{"", "services", "spec.type", "spec.type", ""},
    Selectable{"", "replicationcontrollers", "status.replicas", "status.replicas", "0"},
    Selectable{"apps", "replicasets", "status.replicas", "status.replicas", "0"},
    Selectable{"batch", "jobs", "status.successful", "status.succeeded", "0"},
    Selectable{"certificates.k8s.io", "certificatesigningrequests", "spec.signerName", "spec.signerName", ""},
    Selectable{"", "events", "involvedObject.kind", "involvedObject.kind", ""},
    Selectable{"", "events", "involvedObject.namespace", "involvedObject.namespace", ""},
    Selectable{"", "events", "involvedObject.name", "involvedObject.name", ""},
    Selectable{"", "events", "involvedObject.uid", "involvedObject.uid", ""},
    Selectable{"", "events", "involvedObject.apiVersion", "involvedObject.apiVersion", ""},
    Selectable{"", "events", "involvedObject.resourceVersion", "involvedObject.resourceVersion", ""},
    Selectable{"", "events", "involvedObject.fieldPath", "involvedObject.fieldPath", ""},
    Selectable{"", "events", "reason", "reason", ""},
    Selectable{"", "events", "reportingComponent", "reportingComponent", ""},
    Selectable{"", "events", "source", "source.component", ""},
    Selectable{"", "events", "type", "type", ""},
    // events.k8s.io/v1 shows the same objects with other names (pkg/apis/events/v1).
    Selectable{"events.k8s.io", "events", "regarding.kind", "regarding.kind", ""},
    Selectable{"events.k8s.io", "events", "regarding.namespace", "regarding.namespace", ""},
    Selectable{"events.k8s.io", "events", "regarding.name", "regarding.name", ""},
    Selectable{"events.k8s.io", "events", "regarding.uid", "regarding.uid", ""},
    Selectable{"events.k8s.io", "events", "regarding.apiVersion", "regarding.apiVersion", ""},
    Selectable{"events.k8s.io", "events", "regarding.resourceVersion", "regarding.resourceVersion", ""},
    Selectable{"events.k8s.io", "events", "regarding.fieldPath", "regarding.fieldPath", ""},
    Selectable{"events.k8s.io", "events", "reason", "reason", ""},
    Selectable{"events.k8s.io", "events", "reportingController", "reportingController", ""},
    Selectable{"events.k8s.io", "events", "type", "type", ""},
};

bool offers(const Selectable& field, const Resource& resource) {
  return field.plural == resource.plural && field.group == resource.group;
}

const Selectable* find_selectable(const Resource& resource, std::string_view name) {
  for (const auto& field : kSelectable) {
    if (field.field == name && offers(field, resource)) return &field;
  }
  return nullptr;
}

// Terms between commas that no backslash protects.
std::vector<std::string_view> split_terms(std::string_view text) {
  std::vector<std::string_view> terms;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == ',') {
      terms.push_back(text.substr(begin, i - begin));
      begin = i + 1;
    }
  }
  terms.push_back(text.substr(begin));
  return terms;
}

Result<std::string> unescape_value(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '\\') {
      bool known = i + 1 < text.size() && std::string_view("\\,=").find(text[i + 1]) != std::string_view::npos;
      if (!known) return bad("invalid field selector: invalid escape sequence: " + std::string(text.substr(i, 2)));
      c = text[++i];
    } else if (c == ',' || c == '=') {
      return bad("invalid field selector: unescaped character in value: " + std::string(1, c));
    }
    out += c;
  }
  return out;
}

std::string escape_value(std::string_view value) {
  std::string out;
  for (char c : value) {
    if (c == '\\' || c == ',' || c == '=') out += '\\';
    out += c;
  }
  return out;
}

Result<FieldSelector::Requirement> parse_term(std::string_view term, std::string_view whole) {
  for (std::size_t i = 0; i < term.size(); ++i) {
    if (term[i] == '\\') {
      ++i;
      continue;
    }
    auto rest = term.substr(i);
    std::size_t width = rest.starts_with("!=") || rest.starts_with("==") ? 2 : rest[0] == '=' ? 1 : 0;
    if (width == 0) continue;
    BRUME_TRY(auto value, unescape_value(rest.substr(width)));
    return FieldSelector::Requirement{std::string(term.substr(0, i)), std::move(value), rest[0] == '!', {}, {}, {}};
  }
  return bad("invalid selector: '" + std::string(whole) + "'; can't understand '" + std::string(term) + "'");
}

// Fills in where the requirement's field stands; false when the resource does not offer it.
bool place(const Resource& resource, const std::vector<std::string>& extra_fields, FieldSelector::Requirement& out) {
  if (out.field == "metadata.name" || out.field == "metadata.namespace") return true;
  if (const auto* field = find_selectable(resource, out.field)) {
    out.path = field->path;
    out.absent = field->absent;
    // Newer events name their source in the controller field only.
    if (out.field == "source") out.second_path = "reportingComponent";
    return true;
  }
  out.path = out.field;
  return std::find(extra_fields.begin(), extra_fields.end(), out.field) != extra_fields.end();
}

bool has_own_fields(const Resource& resource) {
  return std::any_of(kSelectable.begin(), kSelectable.end(),
                     [&](const auto& field) { return offers(field, resource); });
}

// A scalar's JSON text as selectors see it.
std::string scalar_text(JsonCursor& in) {
  char first = in.peek();
  if (first == '"') return in.string().value_or("");
  auto text = in.skip();
  if (first == '{' || first == '[' || text == "null") return {};
  return std::string(text);
}

bool descend(JsonCursor& in, std::string_view path, std::string& out) {
  auto dot = path.find('.');
  auto head = path.substr(0, dot);
  if (in.peek() != '{') return in.skip(), true;
  return in.object([&](std::string_view key) {
    if (key > head) return false;  // keys are sorted: there is none
    if (key != head) return in.skip(), true;
    if (dot == std::string_view::npos) {
      out = scalar_text(in);
    } else {
      descend(in, path.substr(dot + 1), out);
    }
    return false;  // found: no need to read on
  });
}

}  // namespace

std::string field_value(std::string_view bytes, std::string_view path) {
  JsonCursor in(bytes);
  std::string out;
  descend(in, path, out);
  return out;
}

std::string field_value(const Object& object, std::string_view path) {
  if (path.starts_with("spec.")) return field_value(object.from_spec(), path.substr(5));
  if (path.starts_with("status.")) return field_value(object.from_status(), path.substr(7));
  return field_value(object.bytes(), path);
}

std::vector<std::string_view> selectable_fields(const Resource& resource) {
  std::vector<std::string_view> fields = {"metadata.name", "metadata.namespace"};
  for (const auto& field : kSelectable) {
    if (offers(field, resource)) fields.push_back(field.field);
  }
  return fields;
}

Result<FieldSelector> FieldSelector::parse(const Resource& resource, std::string_view text) {
  return parse(resource, text, {});
}

Result<FieldSelector> FieldSelector::parse(const Resource& resource, std::string_view text,
                                           const std::vector<std::string>& extra_fields) {
  FieldSelector selector;
  for (auto term : split_terms(text)) {
    if (term.empty()) continue;
    BRUME_TRY(auto requirement, parse_term(term, text));
    bool known = place(resource, extra_fields, requirement);
    if (!known && (has_own_fields(resource) || !extra_fields.empty())) {
      return bad("field label not supported: " + requirement.field);
    }
    if (!known) {
      return bad("field label not supported: \"" + requirement.field +
                 "\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"");
    }
    selector.requirements_.push_back(std::move(requirement));
  }
  return selector;
}

bool FieldSelector::matches(const Object& object) const {
  for (const auto& requirement : requirements_) {
    std::string value;
    if (requirement.field == "metadata.name") {
      value = object.name();
    } else if (requirement.field == "metadata.namespace") {
      value = object.ns();
    } else {
      value = field_value(object, requirement.path);
      if (value.empty() && !requirement.second_path.empty()) value = field_value(object, requirement.second_path);
      if (value.empty()) value = requirement.absent;
    }
    if ((value == requirement.value) == requirement.negate) return false;
  }
  return true;
}

std::string_view FieldSelector::required_value(std::string_view field) const {
  for (const auto& requirement : requirements_) {
    if (requirement.field == field && !requirement.negate) return requirement.value;
  }
  return {};
}

std::string FieldSelector::to_string() const {
  std::string out;
  for (const auto& requirement : requirements_) {
    if (!out.empty()) out += ',';
    out += requirement.field;
    out += requirement.negate ? "!=" : "=";
    out += escape_value(requirement.value);
  }
  return out;
}

}  // namespace brume::api
