// The admission chain: all steps in order.
#pragma once

#include <memory>
#include <vector>

#include "access.h"
#include "admission/plugins.h"
#include "brume/base/clock.h"

namespace brume::apiserver {

class AdmissionChain : public Admission {
 public:
  AdmissionChain(const ObjectSource& objects, const ChainAuthorizer& authorizer, Clock& clock, bool storage_protection);
  Task<Status> mutate(AdmissionRequest& request) override;
  Task<Status> validate(const AdmissionRequest& request) override;

  /// The same without coroutine and without waiting.
  Status mutate_now(AdmissionRequest& request) const;
  [[nodiscard]] Status validate_now(const AdmissionRequest& request) const;

 private:
  const ObjectSource& objects_;
  Clock& clock_;
  std::vector<std::unique_ptr<AdmissionPlugin>> plugins_;
};

}  // namespace brume::apiserver
