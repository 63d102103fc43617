// CronJobs.
#include <algorithm>
#include <cctype>

#include "api/validation/batch.h"
#include "api/validation/kinds.h"
#include "brume/api/cron_schedule.h"
#include "brume/base/strings.h"
#include "brume/base/time_zone.h"

namespace brume::api::validation {

namespace {

const Path kSpec("spec");

void check_time_zone(Errors& errors, const Path& path, const Json& zone) {
  if (zone.is_null()) return;
  const auto name = str(zone);
  if (name.empty()) return errors.invalid(path, name, "timeZone must be nil or non-empty string");
  for (const auto& part : split(name, '/')) {
    const bool plain = !part.empty() && part.size() <= 14 && part != "." && part != ".." && !part.starts_with('-') &&
                       std::all_of(part.begin(), part.end(), [](unsigned char c) {
                         return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_' || c == '+';
                       });
    if (!plain) return errors.invalid(path, name, "unknown time zone " + std::string(name));
  }
  if (iequals(name, "local")) {
    errors.invalid(path, name, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
  }
  if (const auto known = TimeZone::load(name); !known) errors.invalid(path, name, known.error().message);
}

void check_cron_job(Errors& errors, const Json& spec, const Json& old) {
  const auto schedule = str(spec, "schedule");
  const Path path = kSpec / "schedule";
  if (schedule.empty()) {
    errors.required(path);
  } else {
    const bool had_zone = str(old, "schedule").find("TZ") != std::string_view::npos;
    const bool has_zone = schedule.find("TZ") != std::string_view::npos;
    if (const auto parsed = CronSchedule::parse(schedule, TimeZone::utc()); !parsed) {
      errors.invalid(path, schedule, parsed.error().message);
    }
    if (had_zone && has_zone && has(spec, "timeZone")) {
      errors.invalid(path, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    } else if (!had_zone && has_zone) {
      errors.invalid(path, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    }
  }
  check_not_negative(errors, kSpec / "startingDeadlineSeconds", at(spec, "startingDeadlineSeconds"));
  if (at(spec, "timeZone") != at(old, "timeZone")) check_time_zone(errors, kSpec / "timeZone", at(spec, "timeZone"));
  if (const auto policy = str(spec, "concurrencyPolicy"); policy.empty()) {
    errors.required(kSpec / "concurrencyPolicy");
  } else {
    check_enum(errors, kSpec / "concurrencyPolicy", policy, {"Allow", "Forbid", "Replace"});
  }
  const Json& job = at(spec, "jobTemplate", "spec");
  const Path job_path = kSpec / "jobTemplate" / "spec";
  check_job_spec(errors, job_path, job);
  if (has(job, "selector")) {
    errors.invalid(job_path / "selector", at(job, "selector"), "`selector` will be auto-generated");
  }
  if (flag(job, "manualSelector")) {
    errors.add("FieldValueNotSupported", "Unsupported value: true", job_path / "manualSelector",
               R"(supported values: "nil", "false")");
  }
  check_not_negative(errors, kSpec / "successfulJobsHistoryLimit", at(spec, "successfulJobsHistoryLimit"));
  check_not_negative(errors, kSpec / "failedJobsHistoryLimit", at(spec, "failedJobsHistoryLimit"));
}

}  // namespace

void create_cron_job(Errors& errors, const Json& object) {
  check_cron_job(errors, at(object, "spec"), Json());
  // The controller adds eleven characters to name a job.
  if (const auto name = str(at(object, "metadata"), "name"); name.size() > 52) {
    errors.invalid(Path("metadata") / "name", name, "must be no more than 52 characters");
  }
}
void update_cron_job(Errors& errors, const Json& object, const Json& old) {
  check_cron_job(errors, at(object, "spec"), at(old, "spec"));
}

}  // namespace brume::api::validation
