// Defaulting: what Kubernetes fills in before it admits and stores an object.
#pragma once

#include "brume/api/resources.h"
#include "brume/base/json_fwd.h"

namespace brume::api {

/// Fills what the object leaves out, as Kubernetes 1.36 does for the resource. `object` has passed coerce().
/// Idempotent. Metadata (uid, creationTimestamp, generation) and status are not touched; that is the registry's work.
void apply_defaults(const Resource& resource, Json& object);

/// The defaults that stand in the tables alone, for any type (a CRD's too): every absent field with a default literal.
void apply_literal_defaults(const Type& type, Json& object);

/// A pod template's spec (PodTemplate, Deployment, Job, ...).
void apply_pod_spec_defaults(Json& spec);

}  // namespace brume::api
