#include "agent/admission.h"

namespace brume::node {

namespace {

Refusal out_of(const char* resource, std::int64_t requested, std::int64_t used, std::int64_t capacity) {
  return {std::string("OutOf") + resource, std::string("Pod was rejected: Node didn't have enough resource: ") +
                                               resource + ", requested: " + std::to_string(requested) + ", used: " +
                                               std::to_string(used) + ", capacity: " + std::to_string(capacity)};
}

}  // namespace

std::optional<Refusal> admit_pod(const Json& pod, const AdmissionInputs& in) {
  const PodRequest request = pod_request(pod);
  if (in.pods + 1 > in.max_pods) return out_of("pods", 1, in.pods, in.max_pods);
  const auto over = [](std::int64_t asked, std::int64_t used, std::int64_t capacity) {
    return asked > 0 && asked > capacity - used;
  };
  if (over(request.milli_cpu, in.used.milli_cpu, in.milli_cpu))
    return out_of("cpu", request.milli_cpu, in.used.milli_cpu, in.milli_cpu);
  if (over(request.memory, in.used.memory, in.memory))
    return out_of("memory", request.memory, in.used.memory, in.memory);
  if (over(request.ephemeral_storage, in.used.ephemeral_storage, in.ephemeral_storage)) {
    return out_of("ephemeral-storage", request.ephemeral_storage, in.used.ephemeral_storage, in.ephemeral_storage);
  }
  return std::nullopt;
}

}  // namespace brume::node
