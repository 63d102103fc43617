// ObjectMeta's rules, the same for every kind.
#pragma once

#include "api/validation/errors.h"
#include "api/validation/formats.h"

namespace brume::api::validation {

/// On create: names by the kind's format, namespace, labels, annotations, owners, finalizers, managed fields.
void check_metadata(Errors& errors, const Json& metadata, bool namespaced, Format name_format);
/// On update: the same less the names, and what may not change.
void check_metadata_update(Errors& errors, const Json& metadata, const Json& old);

}  // namespace brume::api::validation
