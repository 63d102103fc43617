// OCI seccomp to the filter's instructions.
#pragma once

#include <string>

#include "brume/base/json_fwd.h"
#include "brume/base/result.h"

namespace brume::runtime {

struct SeccompFilter {
  std::string instructions;  ///< struct sock_filter[]; empty: no filter
  unsigned flags = 0;        ///< SECCOMP_FILTER_FLAG_*
};

/// Compiles linux.seccomp of an OCI spec. Results are remembered (a node runs few profiles). Thread-safe.
/// kInvalid names the field that cannot be honoured.
Result<SeccompFilter> compile_seccomp(const Json& seccomp);

}  // namespace brume::runtime
