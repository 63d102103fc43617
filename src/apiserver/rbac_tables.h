// From the rows of rbac_defaults.h to rules and objects.
#pragma once

#include "brume/base/json_fwd.h"
#include "rbac.h"
#include "rbac_defaults.h"

namespace brume::apiserver::defaults {

[[nodiscard]] PolicyRule expand(const Rule& row);
/// A Role or ClusterRole, with the marks of a default (label kubernetes.io/bootstrapping, annotation autoupdate).
[[nodiscard]] Json role_object(const Role& row);
[[nodiscard]] Json binding_object(const Binding& row);

}  // namespace brume::apiserver::defaults
