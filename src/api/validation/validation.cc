#include "brume/api/validation.h"

#include <algorithm>

#include "api/validation/errors.h"
#include "api/validation/formats.h"
#include "api/validation/metadata.h"
#include "api/validation/pod.h"
#include "api/validation/rules.h"
#include "brume/base/strings.h"

namespace brume::api {

using validation::Errors;
using validation::Rules;

std::vector<Cause> validate_create(const Resource& resource, const Json& object) {
  Errors errors;
  const Rules& rules = validation::rules_of(resource.group, resource.plural);
  validation::check_metadata(errors, at(object, "metadata"), resource.namespaced, rules.name);
  if (rules.create != nullptr) rules.create(errors, object);
  return errors.take();
}

std::vector<Cause> validate_update(const Resource& resource, const Json& object, const Json& old,
                                   std::string_view subresource) {
  Errors errors;
  const Rules& rules = validation::rules_of(resource.group, resource.plural);
  validation::check_metadata_update(errors, at(object, "metadata"), at(old, "metadata"));
  const bool pod = resource.group.empty() && resource.plural == "pods";
  if (pod && subresource == "ephemeralcontainers") {
    validation::update_ephemeral_containers(errors, object, old);
  } else if (pod && subresource == "resize") {
    validation::update_pod_resize(errors, object, old);
  } else if (rules.update != nullptr) {
    rules.update(errors, object, old);
  } else if (rules.create != nullptr) {
    rules.create(errors, object);
  }
  return errors.take();
}

std::vector<Cause> validate_status_update(const Resource& resource, const Json& object, const Json& old) {
  Errors errors;
  const Rules& rules = validation::rules_of(resource.group, resource.plural);
  validation::check_metadata_update(errors, at(object, "metadata"), at(old, "metadata"));
  if (rules.status != nullptr) rules.status(errors, object, old);
  return errors.take();
}

Error invalid_error(const Resource& resource, std::string_view name, std::vector<Cause> causes) {
  std::string message(resource.kind);
  if (!resource.group.empty()) message.append(".").append(resource.group);
  message += " " + validation::quote(name) + " is invalid";
  std::vector<std::string> lines;  // the same fault is told once
  for (const Cause& cause : causes) {
    std::string line = cause.field + ": " + cause.message;
    if (std::find(lines.begin(), lines.end(), line) == lines.end()) lines.push_back(std::move(line));
  }
  if (lines.size() == 1) message += ": " + lines.front();
  if (lines.size() > 1) message += ": [" + join(lines, ", ") + "]";
  return Error{Code::kInvalid, std::move(message), std::move(causes)};
}

std::vector<std::string> dns_label_faults(std::string_view name) { return validation::dns1123_label(name); }

}  // namespace brume::api
