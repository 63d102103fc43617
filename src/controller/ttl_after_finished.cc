// Deletes finished Jobs when spec.ttlSecondsAfterFinished have passed since (KEP-592).
#include <algorithm>

#include "job_view.h"
#include "make.h"

namespace brume::controller {

namespace {

/// When a Job may go: nothing while it runs, is being deleted, or wants to be kept.
std::optional<WallTime> expiry_of(const Object& job) {
  if (job.deleting()) return std::nullopt;
  const Json value = job.parse();
  const auto& ttl = at(value, "spec", "ttlSecondsAfterFinished");
  const auto& status = at(value, "status");
  const auto type = finished_condition(status);
  if (!ttl.is_number_integer() || type.empty()) return std::nullopt;
  const auto since = parse_rfc3339(str(client::find_condition(status, type), "lastTransitionTime"));
  if (!since) return std::nullopt;
  return *since + std::chrono::seconds(ttl.get<std::int64_t>());
}

class TtlAfterFinished final : public Controller {
 public:
  explicit TtlAfterFinished(Context& context)
      : Controller(context, "ttl-after-finished-controller"), jobs_(use("jobs.batch")), expiries_(jobs_, expiry_of) {
    jobs_.add_handler({.added = [this](const ObjectPtr& now) { look(now); },
                       .updated = [this](const ObjectPtr&, const ObjectPtr& now) { look(now); },
                       .deleted = nullptr});
  }

 private:
  void look(const ObjectPtr& job) {
    if (expiries_.of(job)) enqueue(job);
  }

  /// Whether the time has come; the key comes back when it does.
  bool expired(const std::string& key, std::optional<WallTime> expiry) {
    if (!expiry) return false;
    const auto left = *expiry - clock().now();
    if (left > WallTime::duration{}) queue_.add_after(key, left);
    return left <= WallTime::duration{};
  }

  Task<Status> reconcile(std::string key) override {
    const auto job = jobs_.get(key);
    if (!job || !expired(key, expiries_.of(job))) co_return Status{};
    // The copy may be old, and the user may have changed his mind.
    const auto live = co_await client().get(jobs_.resource(), job->ns(), job->name());
    if (!live) {
      if (live.error().code == Code::kNotFound) co_return Status{};
      co_return fail(live.error());
    }
    if (!expired(key, expiry_of(**live))) co_return Status{};
    auto done = co_await client().remove(jobs_.resource(), job->ns(), job->name(),
                                         {.propagation_policy = "Foreground", .uid = (*live)->uid()});
    if (!done && done.error().code != Code::kNotFound) co_return fail(done.error());
    co_return Status{};
  }

  Informer& jobs_;
  client::Projection<std::optional<WallTime>> expiries_;
};

}  // namespace

std::unique_ptr<Controller> make_ttl_after_finished(Context& context) {
  return std::make_unique<TtlAfterFinished>(context);
}

}  // namespace brume::controller
