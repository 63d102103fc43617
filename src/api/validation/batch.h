// Pieces of the rules of Jobs that several files share.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/validation/errors.h"

namespace brume::api::validation {

/// What a Job and a CronJob's template share.
void check_job_spec(Errors& errors, const Path& path, const Json& spec);

// batch_policies.cc
void check_failure_policy(Errors& errors, const Path& path, const Json& spec);
void check_success_policy(Errors& errors, const Path& path, const Json& spec);

/// Indexes as text ("1,3-5"): how many they are, or what is wrong with them.
struct IndexCount {
  std::int64_t total = 0;
  std::string fault = {};
};
[[nodiscard]] IndexCount count_indexes(std::string_view text, std::int64_t completions);
/// Tells of an index that both texts have; "" when none does.
[[nodiscard]] std::string overlap_fault(std::string_view completed, std::string_view failed, std::int64_t completions);

}  // namespace brume::api::validation
