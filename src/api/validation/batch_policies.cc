// A Job's pod failure policy and success policy, and indexes as text.
#include <algorithm>
#include <set>

#include "api/validation/batch.h"
#include "api/validation/formats.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

constexpr std::size_t kMaxRules = 20;
constexpr std::size_t kMaxExitCodes = 255;
constexpr std::size_t kMaxConditions = 20;
constexpr std::size_t kMaxIndexesText = std::size_t{64} * 1024;

// Go's %q of a list of words.
std::string valid_values(std::initializer_list<std::string_view> words) {
  std::string out = "valid values: [";
  for (const auto word : words) out.append(out.back() == '[' ? "" : " ").append(quote(word));
  return out + "]";
}

void check_word(Errors& errors, const Path& path, std::string_view word,
                std::initializer_list<std::string_view> supported) {
  if (word.empty()) return errors.required(path, valid_values(supported));
  check_enum(errors, path, word, supported);
}

void check_exit_codes(Errors& errors, const Path& path, const Json& codes, const Json& pod_spec) {
  check_word(errors, path / "operator", str(codes, "operator"), {"In", "NotIn"});
  if (const Json& name = at(codes, "containerName"); name.is_string()) {
    const auto named = [&](const Json& container) { return str(container, "name") == str(name); };
    const auto& containers = items(at(pod_spec, "containers"));
    const auto& init = items(at(pod_spec, "initContainers"));
    if (std::none_of(containers.begin(), containers.end(), named) && std::none_of(init.begin(), init.end(), named)) {
      errors.invalid(path / "containerName", name,
                     "must be one of the container or initContainer names in the pod template");
    }
  }
  const Path values_path = path / "values";
  const auto& values = items(at(codes, "values"));
  if (values.empty()) errors.invalid(values_path, at(codes, "values"), "at least one value is required");
  if (values.size() > kMaxExitCodes) errors.too_many(values_path, values.size(), kMaxExitCodes);
  std::set<Json> seen;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (str(codes, "operator") == "In" && values[i] == Json(0)) {
      errors.invalid(values_path[i], values[i], "must not be 0 for the In operator");
    }
    if (!seen.insert(values[i]).second) errors.duplicate(values_path[i], values[i]);
  }
  if (!std::is_sorted(values.begin(), values.end())) {
    errors.invalid(values_path, at(codes, "values"), "must be ordered");
  }
}

void check_conditions(Errors& errors, const Path& path, const Json& patterns) {
  const auto& list = items(patterns);
  if (list.size() > kMaxConditions) errors.too_many(path, list.size(), kMaxConditions);
  for (std::size_t i = 0; i < list.size(); ++i) {
    check_format(errors, path[i] / "type", str(list[i], "type"), qualified_name);
    check_word(errors, path[i] / "status", str(list[i], "status"), {"False", "True", "Unknown"});
  }
}

void check_failure_rule(Errors& errors, const Path& path, const Json& rule, const Json& spec) {
  const auto action = str(rule, "action");
  if (action == "FailIndex") {
    if (!has(spec, "backoffLimitPerIndex")) {
      errors.invalid(path / "action", action, "requires the backoffLimitPerIndex to be set");
    }
  } else {
    check_word(errors, path / "action", action, {"Count", "FailIndex", "FailJob", "Ignore"});
  }
  const bool codes = has(rule, "onExitCodes");
  const bool conditions = !blank(at(rule, "onPodConditions"));
  if (codes) check_exit_codes(errors, path / "onExitCodes", at(rule, "onExitCodes"), at(spec, "template", "spec"));
  if (conditions) check_conditions(errors, path / "onPodConditions", at(rule, "onPodConditions"));
  if (codes && conditions) {
    errors.invalid(path, "specifying both OnExitCodes and OnPodConditions is not supported");
  }
  if (!codes && !conditions) {
    errors.invalid(path, "specifying one of OnExitCodes and OnPodConditions is required");
  }
}

struct Interval {
  std::int64_t first = 0;
  std::int64_t last = 0;
  std::string fault = {};
};

Interval parse_interval(std::string_view text, std::int64_t completions) {
  const auto limits = split(text, '-');
  if (limits.size() > 2) {
    return {.fault = "the fragment " + quote(text) +
                     " violates the requirement that an index interval can have at most two parts separated by '-'"};
  }
  std::vector<std::int64_t> numbers;
  for (const auto limit : limits) {
    const auto number = parse_int(limit);
    if (!number) return {.fault = "cannot convert string to integer for index: " + quote(limit)};
    if (*number >= completions) return {.fault = "too large index: " + quote(limit)};
    numbers.push_back(*number);
  }
  if (numbers.size() > 1 && numbers[0] >= numbers[1]) {
    return {.fault = "non-increasing order, previous: " + std::to_string(numbers[0]) +
                     ", current: " + std::to_string(numbers[1])};
  }
  return {.first = numbers.front(), .last = numbers.back()};
}

std::vector<Interval> sound_intervals(std::string_view text, std::int64_t completions) {
  std::vector<Interval> out;
  if (text.empty()) return out;
  for (const auto part : split(text, ',')) {
    auto interval = parse_interval(part, completions);
    if (interval.fault.empty()) out.push_back(std::move(interval));
  }
  return out;
}

void check_success_rule(Errors& errors, const Path& path, const Json& rule, std::int64_t completions) {
  const Json& count = at(rule, "succeededCount");
  const Json& indexes = at(rule, "succeededIndexes");
  if (count.is_null() && indexes.is_null()) {
    errors.required(path, "at least one of succeededCount or succeededIndexes must be specified");
  }
  IndexCount counted;
  if (indexes.is_string()) {
    const auto text = str(indexes);
    if (text.size() > kMaxIndexesText) errors.too_long(path / "succeededIndexes", kMaxIndexesText);
    counted = count_indexes(text, completions);
    if (!counted.fault.empty()) {
      errors.invalid(path / "succeededIndexes", text, "error parsing succeededIndexes: " + counted.fault);
    }
  }
  if (!count.is_number()) return;
  const auto number = count.get<std::int64_t>();
  check_not_negative(errors, path / "succeededCount", count);
  if (number > completions) {
    errors.invalid(
        path / "succeededCount", number,
        "must be less than or equal to " + std::to_string(completions) + " (the number of specified completions)");
  }
  if (indexes.is_string() && number > counted.total) {
    errors.invalid(path / "succeededCount", number,
                   "must be less than or equal to " + std::to_string(counted.total) +
                       " (the number of indexes in the specified succeededIndexes field)");
  }
}

}  // namespace

void check_failure_policy(Errors& errors, const Path& path, const Json& spec) {
  const auto& rules = items(at(spec, "podFailurePolicy", "rules"));
  if (rules.size() > kMaxRules) errors.too_many(path / "rules", rules.size(), kMaxRules);
  for (std::size_t i = 0; i < rules.size(); ++i) check_failure_rule(errors, (path / "rules")[i], rules[i], spec);
}

void check_success_policy(Errors& errors, const Path& path, const Json& spec) {
  const auto& rules = items(at(spec, "successPolicy", "rules"));
  if (rules.empty()) {
    errors.required(path / "rules", "at least one rules must be specified when the successPolicy is specified");
  }
  if (rules.size() > kMaxRules) errors.too_many(path / "rules", rules.size(), kMaxRules);
  const auto completions = num(spec, "completions");
  for (std::size_t i = 0; i < rules.size(); ++i) {
    check_success_rule(errors, (path / "rules")[i], rules[i], completions);
  }
}

IndexCount count_indexes(std::string_view text, std::int64_t completions) {
  IndexCount out;
  if (text.empty()) return out;
  std::optional<std::int64_t> last;
  for (const auto part : split(text, ',')) {
    auto interval = parse_interval(part, completions);
    if (!interval.fault.empty()) return {.fault = std::move(interval.fault)};
    if (last && *last >= interval.first) {
      return {.fault = "non-increasing order, previous: " + std::to_string(*last) +
                       ", current: " + std::to_string(interval.first)};
    }
    out.total += interval.last - interval.first + 1;
    last = interval.last;
  }
  return out;
}

std::string overlap_fault(std::string_view completed, std::string_view failed, std::int64_t completions) {
  const auto c = sound_intervals(completed, completions);
  const auto f = sound_intervals(failed, completions);
  std::size_t i = 0, j = 0;
  while (i < c.size() && j < f.size()) {
    if (c[i].first <= f[j].last && f[j].first <= c[i].last) {
      return "failedIndexes and completedIndexes overlap at index: " + std::to_string(std::max(c[i].first, f[j].first));
    }
    c[i].first <= f[j].first ? ++i : ++j;
  }
  return {};
}

}  // namespace brume::api::validation
