// What a pod's claims are bound to, and the wait until they are.
#include "volumes/claims.h"
#include "brume/client/volumes.h"
#include "worker/pod_worker.h"

namespace brume::node {

namespace {

// A node may read its pods' claims but not watch them (as Kubernetes' node authorizer has it), so that they are asked
// for again. Pods that come from the scheduler have theirs bound already.
constexpr std::chrono::seconds kAskAgain{1};
constexpr std::chrono::seconds kTellAgain{123};  // the kubelet's podAttachAndMountTimeout

std::string not_processed(const std::string& volume, const std::string& why) {
  return "Unable to attach or mount volumes: unmounted volumes=[" + volume +
         "], unattached volumes=[], failed to process volumes=[" + volume + "]: " + why;
}

Error waiting(std::string message) { return {.code = Code::kServiceUnavailable, .message = std::move(message)}; }

}  // namespace

Task<Status> PodWorker::fetch_claims() {
  const Json volumes = at(pod_, "spec", "volumes");  // pod_ may be replaced meanwhile
  for (const Json& volume : volumes) {
    const std::string claim = client::claim_of(name_, volume);
    const std::string name(str(volume, "name"));
    if (claim.empty() || claims_.contains(name)) continue;
    auto bound = co_await fetch_claim(volume, claim);
    if (!bound) co_return fail(bound.error());
    const std::string persistent = bound->name();
    // Nothing is awaited between look and entry: two pods cannot both be alone.
    if (bound->alone() && context_.volume_uses.by_others(persistent, uid_)) {
      co_return fail(waiting("MountVolume.SetUp failed for volume \"" + persistent +
                             "\" : volume uses the ReadWriteOncePod access mode and is already in use by another pod"));
    }
    context_.volume_uses.add(persistent, uid_);
    claims_.insert_or_assign(name, *std::move(bound));
  }
  co_return Status();
}

Task<Result<ClaimVolume>> PodWorker::fetch_claim(Json volume, std::string claim_name) {
  const std::string name(str(volume, "name"));
  const std::string where = "error processing PVC " + ns_ + "/" + claim_name + ": ";
  auto claim = co_await context_.client.get(api::res("persistentvolumeclaims"), ns_, claim_name);
  if (!claim) {
    co_return fail(
        waiting(not_processed(name, where + "failed to fetch PVC from API server: " + claim.error().message)));
  }
  if (auto fit = check_claim(**claim); !fit) co_return fail(waiting(not_processed(name, where + fit.error().message)));
  if (volume.contains("ephemeral")) {
    if (auto why = client::foreign_claim(*object_, **claim); !why.empty()) {
      co_return fail(waiting(not_processed(name, why)));
    }
  }
  const std::string volume_name = client::decode_claim(**claim).volume_name;
  auto persistent = co_await context_.client.get(api::res("persistentvolumes"), "", volume_name);
  if (!persistent) {
    co_return fail(waiting(not_processed(
        name, where + "failed to fetch PV " + volume_name + " from API server: " + persistent.error().message)));
  }
  auto self = co_await context_.client.get(api::res("nodes"), "", context_.options.node_name);
  if (!self) co_return fail(waiting(not_processed(name, where + self.error().message)));
  if (auto fit = check_volume(**persistent, **claim, self->get()); !fit) {
    if (fit.error().code != Code::kForbidden) co_return fail(waiting(not_processed(name, where + fit.error().message)));
    co_return fail(
        waiting("MountVolume.NodeAffinity check failed for volume \"" + volume_name + "\" : " + fit.error().message));
  }
  ClaimVolume out{.volume = (*persistent)->parse(), .read_only = flag(at(volume, "persistentVolumeClaim"), "readOnly")};
  if (auto fit = check_volume_mode(pod_, name, out.block()); !fit) {
    co_return fail(waiting(not_processed(name, fit.error().message)));
  }
  auto directory = local_path_of(out.volume, context_.options);
  if (!directory) {
    co_return fail(
        waiting("MountVolume.SetUp failed for volume \"" + volume_name + "\" : " + directory.error().message));
  }
  out.storage_dir = *std::move(directory);
  co_return out;
}

void PodWorker::wait_for_claims(std::string message) {
  volumes_ = Stage::kFailed;
  const auto now = context_.clock.steady();
  setup_retry_ = now + kAskAgain;
  if (message == claim_notice_ && now < claim_notice_until_) return;
  claim_notice_ = message;
  claim_notice_until_ = now + kTellAgain;
  event(true, "FailedMount", std::move(message));
}

}  // namespace brume::node
