// The error texts that Kubernetes clients and their users know.
#pragma once

#include <string>
#include <string_view>

#include "brume/api/resources.h"
#include "brume/base/result.h"

namespace brume::apiserver {

[[nodiscard]] Error not_found(const api::Resource& resource, std::string_view name);       ///< pods "x" not found
[[nodiscard]] Error already_exists(const api::Resource& resource, std::string_view name);  ///< pods "x" already exists
/// Operation cannot be fulfilled on pods "x": why
[[nodiscard]] Error conflict(const api::Resource& resource, std::string_view name, std::string_view why);
/// The conflict of a stale resourceVersion.
[[nodiscard]] Error modified(const api::Resource& resource, std::string_view name);
/// pods "x" is forbidden: why (or pods is forbidden: why)
[[nodiscard]] Error forbidden(const api::Resource& resource, std::string_view name, std::string_view why);

/// The eviction of a pod that more than one PodDisruptionBudget selects. Kubernetes puts this Status together by hand:
/// code 500 and no reason.
[[nodiscard]] Error several_budgets();
[[nodiscard]] bool tells_no_reason(const Error& error);

/// `text` in double quotes as Go's %q prints it.
[[nodiscard]] std::string go_quote(std::string_view text);

}  // namespace brume::apiserver
