// Writing the pod's status the moment it changes.
#include "pod/pod.h"
#include "worker/pod_status.h"
#include "worker/pod_worker.h"

namespace brume::node {

Json PodWorker::make_wanted() const {
  const StatusInputs inputs{.pod = pod_,
                            .runs = runs_,
                            .initialized = initialized_,
                            .sandbox_ready = sandbox_ == Stage::kReady && !torn_down_ && !pod_ips_.empty(),
                            .stopped = terminating_ && all_ended(),
                            .rejected = rejected_,
                            .reason = fail_reason_,
                            .message = fail_message_,
                            .restarting_all = restarting_all_,
                            .disrupted = disrupted_,
                            .resize_pending = terminating_ || finished_ ? std::nullopt : resize_pending_,
                            .resize_progress = terminating_ || finished_ ? std::nullopt : resize_progress_,
                            .pod_ips = pod_ips_,
                            .host_ips = context_.options.node_ips,
                            .start_time = start_time_,
                            .now = context_.clock.now()};
  Json wanted = make_pod_status(inputs);
  if (is_terminal_phase(str(wanted, "phase")) && !all_ended()) {
    // Sidecars still run: the phase is not final yet.
    const auto before = str(wanted_, "phase");
    wanted["phase"] = before.empty() ? "Running" : std::string(before);
  }
  return wanted;
}

void PodWorker::report() {
  // Pods that brume only sets aside at its stop keep the status they have.
  if (removed_ || shut_down_) return;
  // A finished pod's status is final, but it may still have to be written.
  if (!is_terminal_phase(str(wanted_, "phase"))) wanted_ = make_wanted();
  if (wanted_ == written_ || writing_) return;
  if (write_not_before_ && *write_not_before_ > context_.clock.steady()) {
    wake_at(*write_not_before_);
    return;
  }
  write_not_before_.reset();
  writing_ = true;
  group_.spawn("pod status", write_status());
}

Task<void> PodWorker::write_status() {
  const Json wanted = wanted_;
  Json patch = status_patch(at(pod_, "status"), wanted, uid_);
  if (patch.is_null()) {
    written_ = wanted;
  } else {
    client::WriteOptions options;
    options.subresource = "status";
    options.field_manager = "kubelet";
    auto answer = co_await context_.client.patch(api::res("pods"), ns_, name_, client::PatchType::kStrategic,
                                                 std::move(patch), std::move(options));
    if (answer) {
      written_ = wanted;
      write_retry_.succeeded();
      if ((*answer)->uid() == uid_ && (*answer)->resource_version() > object_->resource_version()) {
        take(*answer);
      }
    } else if (answer.error().code == Code::kNotFound) {
      // The watch tells of the deletion; until then there is nobody to report to.
      written_ = wanted;
    } else {
      write_not_before_ = context_.clock.steady() + write_retry_.failed(answer.error());
    }
  }
  writing_ = false;
  wake();
}

}  // namespace brume::node
