#include "worker/write_retry.h"

#include <algorithm>

#include "brume/base/log.h"

namespace brume::node {

std::chrono::seconds WriteRetry::failed(const Error& error) {
  if (failures_ == 0 || reason_ != error.message) {
    log::warn("cannot write " + std::string(what_) + ", trying again", {{kind_, name_}, {"error", error.message}});
    reason_ = error.message;
  }
  return std::chrono::seconds(1 << std::min(failures_++, 3));
}

void WriteRetry::succeeded() {
  if (failures_ == 0) return;
  log::info("wrote " + std::string(what_) + " at last", {{kind_, name_}, {"failures", std::to_string(failures_)}});
  failures_ = 0;
}

}  // namespace brume::node
