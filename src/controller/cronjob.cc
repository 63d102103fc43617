// CronJobs: a Job at each time of a schedule.
#include <algorithm>
#include <array>
#include <cstdio>
#include <unordered_map>

#include "brume/api/cron_schedule.h"
#include "cronjob_times.h"
#include "job_view.h"
#include "make.h"
#include "pod_control.h"

namespace brume::controller {

namespace {

constexpr std::string_view kScheduledTimestamp = "batch.kubernetes.io/cronjob-scheduled-timestamp";
constexpr auto kLookAgain = std::chrono::seconds(1);  // should the event that the copy lacks not come by itself
// How often the wall clock is compared with the steady one, by which the queue waits, while there are CronJobs; and by
// how much they may part before the times are worked out anew.
constexpr auto kClockPeriod = std::chrono::minutes(1);
constexpr auto kClockJump = std::chrono::seconds(1);
// A clock that went back by less has begun these Jobs already; one that went back by more was wrong before, and waiting
// for the last time to come again could take years. The limit is cron(8)'s.
constexpr auto kClockCorrection = std::chrono::hours(3);

/// Of a CronJob's version.
struct CronView {
  std::string schedule;
  std::string zone_fault;  ///< of spec.timeZone, which is then of no use
  TimeZonePtr zone;        ///< of spec.timeZone, else UTC: for the timestamp that Jobs carry
  Result<api::CronSchedule> parsed = fail(Code::kInternal, "");
  CronTimes times;
  std::string concurrency;
  bool suspended = false;
  std::optional<std::int64_t> keep_succeeded, keep_failed;
};

/// Of a Job's version.
struct ChildView {
  std::string finished;  ///< "Complete", "Failed" or ""
  std::optional<WallTime> started, completed;
};

std::optional<std::int64_t> optional_number(const Json& value, std::string_view key) {
  const auto& member = at(value, key);
  return member.is_number_integer() ? std::optional(member.get<std::int64_t>()) : std::nullopt;
}

// Reads the zone's file, a few kilobytes, once for each version of the object.
CronView decode_cron(const Object& object) {
  const Json value = object.parse();
  const auto& spec = at(value, "spec");
  CronView view;
  view.schedule = str(spec, "schedule");
  view.zone = TimeZone::utc();
  const auto& name = at(spec, "timeZone");
  auto zone = name.is_string() ? TimeZone::load(str(name)) : Result<TimeZonePtr>(TimeZone::local());
  if (!zone) {
    view.zone_fault = "invalid timeZone: \"" + std::string(str(name)) + "\": " + zone.error().message;
  } else {
    if (name.is_string()) view.zone = *zone;
    view.parsed = api::CronSchedule::parse(view.schedule, *zone);
  }
  view.times = {.created = parse_rfc3339(object.creation_timestamp()).value_or(WallTime{}),
                .last_scheduled = parse_rfc3339(str(at(value, "status"), "lastScheduleTime")),
                .starting_deadline_seconds = optional_number(spec, "startingDeadlineSeconds")};
  view.concurrency = str(spec, "concurrencyPolicy");
  view.suspended = flag(spec, "suspend");
  view.keep_succeeded = optional_number(spec, "successfulJobsHistoryLimit");
  view.keep_failed = optional_number(spec, "failedJobsHistoryLimit");
  return view;
}

ChildView decode_child(const Object& job) {
  const Json status = at(job.parse(), "status");
  return {.finished = std::string(finished_condition(status)),
          .started = parse_rfc3339(str(status, "startTime")),
          .completed = parse_rfc3339(str(status, "completionTime"))};
}

// Mon, 02 Jan 2006 15:04:05 +0000
std::string rfc1123(WallTime time) {
  constexpr std::array kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(std::chrono::floor<std::chrono::seconds>(time - day));
  std::array<char, 48> text;
  std::snprintf(text.data(), text.size(), "%s, %02u %s %04d %02d:%02d:%02d +0000",
                kDays[std::chrono::weekday(day).c_encoding()], static_cast<unsigned>(date.day()),
                kMonths[static_cast<unsigned>(date.month()) - 1], static_cast<int>(date.year()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()));
  return text.data();
}

class CronJobController final : public Controller {
 public:
  explicit CronJobController(Context& context);

 private:
  /// One reconcile's view of a CronJob, and its status as it will be.
  struct Sync {
    std::string key;
    ObjectPtr cron;
    Json value;
    CronView view;
    Json status;
  };

  void cron_changed(const ObjectPtr& old, const ObjectPtr& now);
  void job_changed(const ObjectPtr& old, const ObjectPtr& now);
  void enqueue_owner(const ObjectPtr& job);
  static Task<void> watch_clock(CronJobController* self);
  void synced() override { tasks_.spawn("cronjob-clock", watch_clock(this)); }

  Task<Status> reconcile(std::string key) override;
  Task<Status> trim(Sync& sync);
  Task<Status> look_at_jobs(Sync& sync);
  void look_at_finished(Sync& sync, const ObjectPtr& job, const ChildView& child);
  Task<Status> look_at_active(Sync& sync);
  Task<Status> run_due(Sync& sync);
  Task<Status> replace_active(Sync& sync);
  Task<Status> start(Sync& sync, WallTime time);
  /// False when it could not be deleted, which was reported.
  Task<bool> delete_job(Sync& sync, ObjectPtr job);
  Task<Status> write_status(Sync& sync);
  void look_later(const Sync& sync);
  [[nodiscard]] static std::string job_name(const Sync& sync, WallTime time);
  [[nodiscard]] static bool is_active(const Json& status, std::string_view field, std::string_view value);
  static void drop_active(Json& status, std::string_view uid);

  Informer& crons_;
  Informer& jobs_;
  client::Projection<CronView> views_;
  client::Projection<ChildView> children_;
  Event some_;                                             ///< there is a CronJob
  std::unordered_map<std::string, std::int64_t> written_;  ///< revision of the last status written, by uid
};

CronJobController::CronJobController(Context& context)
    : Controller(context, "cronjob-controller"),
      crons_(use("cronjobs.batch")),
      jobs_(use("jobs.batch")),
      views_(crons_, decode_cron),
      children_(jobs_, decode_child),
      some_(context.informers.executor()) {
  jobs_.add_index(kByController, index_by_controller);
  crons_.add_handler({.added = [this](const ObjectPtr& now) { cron_changed(nullptr, now); },
                      .updated = [this](const ObjectPtr& old, const ObjectPtr& now) { cron_changed(old, now); },
                      .deleted = [this](const ObjectPtr& last) { written_.erase(last->uid()); }});
  jobs_.add_handler({.added = [this](const ObjectPtr& now) { enqueue_owner(now); },
                     .updated = [this](const ObjectPtr& old, const ObjectPtr& now) { job_changed(old, now); },
                     .deleted = [this](const ObjectPtr& last) { enqueue_owner(last); }});
}

// What to reconcile --------------------------------------------------------------------------------------------------

// A schedule that changes is not made up for: it counts from its next time on.
void CronJobController::cron_changed(const ObjectPtr& old, const ObjectPtr& now) {
  if (!old) some_.notify();
  if (!old || old->generation() == now->generation()) return enqueue(now);
  const Json before = old->parse(), after = now->parse();
  const auto same = [&](const char* key) { return at(before, "spec", key) == at(after, "spec", key); };
  if (same("schedule") && same("timeZone")) return enqueue(now);
  const auto& view = views_.of(now);
  if (!view.parsed) {
    return events_.warning(*now, "UnParseableCronJobSchedule", "unparseable schedule for cronjob: " + view.schedule);
  }
  const auto time = clock().now();
  if (const auto next = next_look(view.times, *view.parsed, time)) queue_.add_after(now->key(), *next - time);
}

void CronJobController::enqueue_owner(const ObjectPtr& job) {
  const auto* ref = job->controller();
  if (ref == nullptr || ref->kind != crons_.resource().kind) return;
  const auto cron = crons_.get(job->ns(), ref->name);
  if (cron && cron->uid() == ref->uid) enqueue(cron);
}

void CronJobController::job_changed(const ObjectPtr& old, const ObjectPtr& now) {
  enqueue_owner(now);
  const auto* before = old->controller();
  const auto* after = now->controller();
  if (before != nullptr && (after == nullptr || after->uid != before->uid)) enqueue_owner(old);
}

// The queue waits by the steady clock. When the wall clock is set, or the machine was asleep, all times are off.
Task<void> CronJobController::watch_clock(CronJobController* self) {
  for (;;) {
    while (self->crons_.size() == 0) co_await self->some_.wait();
    const auto wall = self->clock().now();
    const auto steady = self->clock().steady();
    co_await self->clock().sleep(kClockPeriod);
    const auto jump = (self->clock().now() - wall) - (self->clock().steady() - steady);
    if (jump < kClockJump && jump > -kClockJump) continue;
    self->crons_.each([self](const ObjectPtr& cron) { self->enqueue(cron); });
  }
}

// Reconcile ----------------------------------------------------------------------------------------------------------

Task<Status> CronJobController::reconcile(std::string key) {
  const auto cron = crons_.get(key);
  if (!cron) co_return Status{};
  if (const auto it = written_.find(cron->uid()); it != written_.end() && it->second > crons_.revision()) {
    queue_.add_after(key, kLookAgain);
    co_return Status{};
  }
  Sync sync{.key = key, .cron = cron, .value = cron->parse(), .view = views_.of(cron), .status = Json::object()};
  if (at(sync.value, "status").is_object()) sync.status = at(sync.value, "status");
  Status done = co_await trim(sync);
  if (done) done = co_await look_at_jobs(sync);
  if (done && !cron->deleting()) done = co_await run_due(sync);
  BRUME_CO_CHECK(co_await write_status(sync));
  co_return done;
}

bool CronJobController::is_active(const Json& status, std::string_view field, std::string_view value) {
  const auto& active = at(status, "active");
  return std::any_of(active.begin(), active.end(), [&](const Json& ref) { return str(ref, field) == value; });
}

void CronJobController::drop_active(Json& status, std::string_view uid) {
  if (!at(status, "active").is_array()) return;
  auto& active = status["active"];
  active.erase(std::remove_if(active.begin(), active.end(), [&](const Json& ref) { return str(ref, "uid") == uid; }),
               active.end());
  if (active.empty()) status.erase("active");
}

// Deletes finished Jobs beyond the limits, those first that began first.
Task<Status> CronJobController::trim(Sync& sync) {
  struct Finished {
    ObjectPtr job;
    WallTime started;
  };
  const std::array limits = {std::pair("Complete", sync.view.keep_succeeded),
                             std::pair("Failed", sync.view.keep_failed)};
  for (const auto& [type, keep] : limits) {
    if (!keep) continue;
    std::vector<Finished> finished;
    for (const auto& job : jobs_.index(kByController, sync.cron->uid())) {
      const auto& child = children_.of(job);
      if (child.finished == type) finished.push_back({.job = job, .started = child.started.value_or(WallTime::max())});
    }
    std::sort(finished.begin(), finished.end(), [](const Finished& a, const Finished& b) {
      return a.started != b.started ? a.started < b.started : a.job->name() < b.job->name();
    });
    const auto surplus = static_cast<std::int64_t>(finished.size()) - *keep;
    for (std::int64_t i = 0; i < surplus; ++i) {
      const auto& job = finished[static_cast<std::size_t>(i)].job;
      if (!job->deleting()) co_await delete_job(sync, job);
    }
  }
  co_return Status{};
}

Task<bool> CronJobController::delete_job(Sync& sync, ObjectPtr job) {
  auto done = co_await client().remove(jobs_.resource(), job->ns(), job->name(),
                                       {.propagation_policy = "Background", .uid = job->uid()});
  if (!done) {
    events_.warning(*sync.cron, "FailedDelete", "Deleted job: " + done.error().message);
    co_return false;
  }
  drop_active(sync.status, job->uid());
  events_.normal(*sync.cron, "SuccessfulDelete", "Deleted job " + job->name());
  co_return true;
}

// Brings status.active in line with the Jobs that there are.
Task<Status> CronJobController::look_at_jobs(Sync& sync) {
  const auto jobs = jobs_.by_index(kByController, sync.cron->uid());
  for (const auto& job : jobs) {
    const auto child = children_.decode(*job);
    if (!child.finished.empty()) {
      look_at_finished(sync, job, child);
    } else if (!is_active(sync.status, "uid", job->uid())) {
      // Someone made it in this one's name, or this process died before it wrote the status.
      BRUME_CO_TRY(const auto live, co_await client().get(crons_.resource(), sync.cron->ns(), sync.cron->name()));
      if (is_active(at(live->parse(), "status"), "uid", job->uid())) continue;
      events_.warning(*sync.cron, "UnexpectedJob",
                      "Saw a job that the controller did not create or forgot: " + job->name());
    }
  }
  co_return co_await look_at_active(sync);
}

void CronJobController::look_at_finished(Sync& sync, const ObjectPtr& job, const ChildView& child) {
  if (is_active(sync.status, "uid", job->uid())) {
    drop_active(sync.status, job->uid());
    events_.normal(*sync.cron, "SawCompletedJob",
                   "Saw completed job: " + job->name() + ", condition: " + child.finished);
  }
  if (child.finished != "Complete" || !child.completed) return;
  const auto last = parse_rfc3339(str(sync.status, "lastSuccessfulTime"));
  if (!last || *child.completed > *last) sync.status["lastSuccessfulTime"] = format_rfc3339(*child.completed);
}

// What is called active but is no more, by the API's own word: the copy may be behind.
Task<Status> CronJobController::look_at_active(Sync& sync) {
  const Json active = at(sync.status, "active");
  if (!active.is_array()) co_return Status{};
  for (const auto& ref : active) {
    const std::string name(str(ref, "name")), uid(str(ref, "uid"));
    const auto job = jobs_.get(sync.cron->ns(), name);
    if (job && job->uid() == uid) continue;
    const auto live = co_await client().get(jobs_.resource(), sync.cron->ns(), name);
    if (live) continue;
    if (live.error().code != Code::kNotFound) co_return fail(live.error());
    events_.normal(*sync.cron, "MissingJob", "Active job went missing: " + name);
    drop_active(sync.status, uid);
  }
  co_return Status{};
}

// Starting Jobs ------------------------------------------------------------------------------------------------------

// Looks at the times as the status will have them.
void CronJobController::look_later(const Sync& sync) {
  auto times = sync.view.times;
  times.last_scheduled = parse_rfc3339(str(sync.status, "lastScheduleTime"));
  const auto now = clock().now();
  if (const auto next = next_look(times, *sync.view.parsed, now)) queue_.add_after(sync.key, *next - now);
}

std::string CronJobController::job_name(const Sync& sync, WallTime time) {
  return sync.cron->name() + "-" +
         std::to_string(std::chrono::floor<std::chrono::minutes>(time.time_since_epoch()).count());
}

Task<Status> CronJobController::run_due(Sync& sync) {
  const auto& view = sync.view;
  if (!view.zone_fault.empty()) {
    events_.warning(*sync.cron, "UnknownTimeZone", view.zone_fault);
    co_return Status{};
  }
  if (view.suspended) co_return Status{};
  if (view.schedule.find("TZ") != std::string::npos) {
    events_.warning(*sync.cron, "UnsupportedSchedule",
                    "CRON_TZ or TZ used in schedule \"" + view.schedule +
                        "\" is not officially supported, see "
                        "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details");
  }
  if (!view.parsed) {
    events_.warning(*sync.cron, "UnparseableSchedule",
                    "unparseable schedule: \"" + view.schedule + "\" : " + view.parsed.error().message);
    co_return Status{};
  }
  const auto now = clock().now();
  CronTimes times = view.times;
  if (times.last_scheduled.value_or(times.created) > now + kClockCorrection) {
    times.last_scheduled = std::chrono::floor<std::chrono::seconds>(now);
    sync.status["lastScheduleTime"] = format_rfc3339(now);
  }
  const auto recent = most_recent_time(times, *view.parsed, now, true);
  if (!recent.fault.empty()) {
    events_.warning(*sync.cron, "InvalidSchedule", "invalid schedule: " + view.schedule + " : " + recent.fault);
    co_return Status{};
  }
  Status done;
  if (recent.time) {
    const auto time = *recent.time;
    if (recent.missed == Missed::kMany) {
      events_.warning(*sync.cron, "TooManyMissedTimes",
                      "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew");
    }
    const auto deadline = times.starting_deadline_seconds;
    if (deadline && now - time > std::chrono::seconds(std::min(*deadline, kMostSeconds))) {
      events_.warning(*sync.cron, "MissSchedule", "Missed scheduled time to start a job: " + rfc1123(time));
    } else if (times.last_scheduled == time || is_active(sync.status, "name", job_name(sync, time))) {
      // This time was seen to already.
    } else if (view.concurrency == "Forbid" && !at(sync.status, "active").empty()) {
      events_.normal(*sync.cron, "JobAlreadyActive",
                     "Not starting job because prior execution is running and concurrency policy is Forbid");
    } else {
      if (view.concurrency == "Replace") done = co_await replace_active(sync);
      if (done) done = co_await start(sync, time);
    }
  }
  if (done) look_later(sync);
  co_return done;
}

Task<Status> CronJobController::replace_active(Sync& sync) {
  const Json active = at(sync.status, "active");
  if (!active.is_array()) co_return Status{};
  for (const auto& ref : active) {
    const std::string name(str(ref, "name"));
    auto job = co_await client().get(jobs_.resource(), sync.cron->ns(), name);
    if (!job) {
      events_.warning(*sync.cron, "FailedGet", "Get job: " + job.error().message);
      co_return fail(job.error());
    }
    if (!co_await delete_job(sync, *job)) {
      co_return fail(Code::kInternal, "could not replace job " + (*job)->key());
    }
  }
  co_return Status{};
}

// The Job's name tells its time, so that one which was made before a crash is found and not made again.
Task<Status> CronJobController::start(Sync& sync, WallTime time) {
  const auto& pattern = at(sync.value, "spec", "jobTemplate");
  Json body = {{"metadata", {{"name", job_name(sync, time)}}}, {"spec", at(pattern, "spec")}};
  auto& meta = body["metadata"];
  for (const char* key : {"labels", "annotations"}) {
    if (at(pattern, "metadata", key).is_object()) meta[key] = at(pattern, "metadata", key);
  }
  const auto moment = std::chrono::floor<std::chrono::seconds>(time);
  meta["annotations"][std::string(kScheduledTimestamp)] = sync.view.zone->format_rfc3339(moment);
  meta["ownerReferences"] = Json::array({client::controller_reference(*sync.cron)});
  auto job = co_await client().create(jobs_.resource(), sync.cron->ns(), std::move(body));
  if (job) {
    events_.normal(*sync.cron, "SuccessfulCreate", "Created job " + (*job)->name());
  } else if (job.error().code == Code::kAlreadyExists) {
    job = co_await client().get(jobs_.resource(), sync.cron->ns(), job_name(sync, time));
    if (!job) co_return fail(job.error());
    // Another's Job of that name: its time is taken.
    if (!client::controlled_by(**job, sync.cron->uid())) co_return Status{};
    if (is_active(sync.status, "uid", (*job)->uid())) co_return Status{};
  } else {
    if (!namespace_goes(job.error()))
      events_.warning(*sync.cron, "FailedCreate", "Error creating job: " + job.error().message);
    co_return fail(job.error());
  }
  sync.status["active"].push_back(client::ObjectReference::to(**job).to_json());
  sync.status["lastScheduleTime"] = format_rfc3339(time);
  co_return Status{};
}

Task<Status> CronJobController::write_status(Sync& sync) {
  const auto& before = at(sync.value, "status");
  if (sync.status == before || (sync.status.empty() && !before.is_object())) co_return Status{};
  Json body = sync.value;
  body["status"] = sync.status;
  auto done = co_await client().update(crons_.resource(), sync.cron->ns(), sync.cron->name(), std::move(body),
                                       {.subresource = "status"});
  if (!done) {
    if (done.error().code == Code::kNotFound) co_return Status{};
    co_return fail(done.error());
  }
  written_[sync.cron->uid()] = (*done)->resource_version();
  co_return Status{};
}

}  // namespace

std::unique_ptr<Controller> make_cronjob(Context& context) { return std::make_unique<CronJobController>(context); }

}  // namespace brume::controller
