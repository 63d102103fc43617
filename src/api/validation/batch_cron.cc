// CronJobs.
#include <algorithm>
#include <array>

#include "api/validation/batch.h"
#include "api/validation/kinds.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

const Path kSpec("spec");

// ---- cron lines ----

struct CronField {
  std::string_view name;
  std::int64_t low, high;
  std::array<std::string_view, 12> names;
};
constexpr std::array<CronField, 5> kCronFields = {
    CronField{"minute", 0, 59, {}},
    CronField{"hour", 0, 23, {}},
    CronField{"day of month", 1, 31, {}},
    CronField{"month", 1, 12, {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
    CronField{"day of week", 0, 6, {"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
};

std::optional<std::int64_t> cron_value(const CronField& field, std::string_view text) {
  const std::string lower = to_lower(text);
  for (std::size_t i = 0; i < field.names.size(); ++i) {
    if (!lower.empty() && field.names[i] == lower) return field.low + static_cast<std::int64_t>(i);
  }
  const auto number = parse_int(text);
  return number && *number >= 0 ? number : std::nullopt;
}

// One of "*", "a", "a-b", "*/n", "a-b/n"; what is wrong with it, "" if nothing.
std::string cron_range_fault(const CronField& field, std::string_view text) {
  const auto slash = text.find('/');
  const auto range = text.substr(0, slash);
  const auto dash = range.find('-');
  std::int64_t low = field.low, high = field.high;
  if (range != "*" && range != "?") {
    const auto first = cron_value(field, range.substr(0, dash));
    if (!first) return "failed to parse int from " + std::string(range.substr(0, dash));
    low = high = *first;
    if (dash != std::string_view::npos) {
      const auto last = cron_value(field, range.substr(dash + 1));
      if (!last) return "failed to parse int from " + std::string(range.substr(dash + 1));
      high = *last;
    }
  }
  const auto whole = std::string(text);
  if (slash != std::string_view::npos) {
    const auto step = parse_int(text.substr(slash + 1));
    if (!step || *step < 0) return "failed to parse int from " + std::string(text.substr(slash + 1));
    if (*step == 0) return "step of range should be a positive number: " + whole;
  }
  if (low < field.low) {
    return "beginning of range (" + std::to_string(low) + ") below minimum (" + std::to_string(field.low) +
           "): " + whole;
  }
  if (high > field.high) {
    return "end of range (" + std::to_string(high) + ") above maximum (" + std::to_string(field.high) + "): " + whole;
  }
  if (low > high) {
    return "beginning of range (" + std::to_string(low) + ") beyond end of range (" + std::to_string(high) +
           "): " + whole;
  }
  return {};
}

std::string schedule_fault(std::string_view schedule) {
  if (schedule.starts_with('@')) {
    for (const char* known : {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}) {
      if (schedule == known) return {};
    }
    if (schedule.starts_with("@every ") && schedule.size() > 7 && schedule[7] >= '0' && schedule[7] <= '9') return {};
    return "unrecognized descriptor: " + std::string(schedule);
  }
  std::vector<std::string> fields;
  for (auto& part : split(schedule, ' ')) {
    if (auto text = trim(part); !text.empty()) fields.emplace_back(text);
  }
  if (fields.size() != kCronFields.size()) {
    std::string list = join(fields, " ");
    return "expected exactly 5 fields, found " + std::to_string(fields.size()) + ": [" + list + "]";
  }
  for (std::size_t i = 0; i < fields.size(); ++i) {
    for (const auto& part : split(fields[i], ',')) {
      if (auto fault = cron_range_fault(kCronFields[i], part); !fault.empty()) return fault;
    }
  }
  return {};
}

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
}

void check_cron_job(Errors& errors, const Json& spec, const Json& old) {
  const auto schedule = str(spec, "schedule");
  const Path path = kSpec / "schedule";
  if (schedule.empty()) {
    errors.required(path);
  } else {
    const bool had_zone = str(old, "schedule").find("TZ") != std::string_view::npos;
    const bool has_zone = schedule.find("TZ") != std::string_view::npos;
    auto line = schedule;
    if (has_zone && (line.starts_with("TZ=") || line.starts_with("CRON_TZ="))) {
      const auto space = line.find(' ');
      line = space == std::string_view::npos ? std::string_view() : trim(line.substr(space));
    }
    if (const auto fault = schedule_fault(line); !fault.empty()) errors.invalid(path, schedule, fault);
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
