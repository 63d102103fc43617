#include "horizontal_pod_autoscaler_metrics.h"

#include <algorithm>

#include "brume/api/quantity.h"
#include "brume/api/resources.h"
#include "brume/base/go_duration.h"
#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "controller.h"

namespace brume::controller {

namespace {

constexpr std::string_view kCustom = "custom.metrics.k8s.io";
constexpr std::string_view kExternal = "external.metrics.k8s.io";
constexpr auto kDefaultWindow = std::chrono::minutes(1);  // metricServerDefaultMetricWindow

std::int64_t milli(std::string_view quantity) { return api::quantity_or_zero(quantity).milli_value(); }

// Metrics come from whatever serves their API: nothing is taken for granted of them.
std::unexpected<Error> malformed(std::string_view why) {
  return fail(Code::kCorrupt, "malformed answer: " + std::string(why));
}

// A quantity, as decoders take it: absent it is zero, and a number needs no quotes.
Result<std::int64_t> value_of(const Json& item) {
  const Json& value = at(item, "value");
  if (value.is_null()) return 0;
  if (!value.is_string() && !value.is_number()) return malformed("a value is no quantity");
  const auto parsed = api::Quantity::parse(value.is_string() ? std::string(str(value)) : dump_json(value));
  if (!parsed) return malformed(parsed.error().message);
  return parsed->milli_value();
}

// The items of a list, each of which is an object.
Result<Json> items_of(const Json& list) {
  if (!list.is_object()) return malformed("it is no list");
  const Json& items = at(list, "items");
  if (items.is_null()) return Json::array();
  if (!items.is_array()) return malformed("its items are no list");
  const bool objects = std::all_of(items.begin(), items.end(), [](const Json& item) { return item.is_object(); });
  if (!objects) return malformed("an item is no object");
  return items;
}

std::chrono::seconds window_of(const Json& item) {
  const auto seconds = num(item, "windowSeconds", std::chrono::seconds(kDefaultWindow).count());
  return std::chrono::seconds(std::clamp<std::int64_t>(seconds, 0, kMostSeconds));
}

// The figure of one pod's metrics; nullopt where it lacks.
std::optional<std::int64_t> pod_value(const Json& containers, std::string_view resource, std::string_view container) {
  std::int64_t sum = 0;
  bool any = false;
  for (const Json& one : containers) {
    if (!container.empty() && str(one, "name") != container) continue;
    const Json& usage = at(one, "usage", resource);
    if (!usage.is_string()) return std::nullopt;
    sum = saturating_sum({sum, milli(str(usage))});
    any = true;
  }
  return any ? std::optional(sum) : std::nullopt;
}

std::string query(std::initializer_list<std::pair<std::string_view, std::string_view>> parameters) {
  std::string out;
  for (const auto& [name, value] : parameters) {
    if (value.empty()) continue;
    out += (out.empty() ? "?" : "&") + std::string(name) + "=" + url_encode(value);
  }
  return out;
}

// "deployments.apps" of a kind; the API's path names it so.
Result<std::string> resource_of(std::string_view api_version, std::string_view kind) {
  const auto slash = api_version.find('/');
  const std::string group(slash == std::string_view::npos ? "" : api_version.substr(0, slash));
  for (const api::Resource& resource : api::builtin_resources()) {
    if (resource.group == group && resource.kind == kind) return resource.group_resource();
  }
  const std::string name = std::string(kind) + (group.empty() ? "" : "." + group);
  return fail(Code::kNotFound, "unable to map kind " + name + " to resource: no matches for kind \"" +
                                   std::string(kind) + "\" in group \"" + group + "\"");
}

Error wrapped(Error error, std::string_view api) {
  return wrap(std::move(error), "unable to fetch metrics from " + std::string(api) + " metrics API");
}

}  // namespace

Task<Result<PodMetrics>> MetricsClient::resource(std::string ns, std::string selector, std::string resource,
                                                 std::string container) {
  const auto listed = co_await client_.list(api::res("pods.metrics.k8s.io"),
                                            {.ns = std::move(ns), .label_selector = std::move(selector)});
  if (!listed) co_return fail(wrapped(listed.error(), "resource"));
  if (listed->items.empty()) co_return fail(Code::kInternal, "no metrics returned from resource metrics API");
  PodMetrics out;
  for (const auto& object : listed->items) {
    const Json value = object->parse();
    const auto used = pod_value(at(value, "containers"), resource, container);
    if (!used) continue;
    const auto window = parse_go_duration(str(value, "window")).value_or(kDefaultWindow);
    out[object->name()] = {parse_rfc3339(str(value, "timestamp")).value_or(WallTime{}), window, *used};
  }
  co_return out;
}

Task<Result<Json>> MetricsClient::custom(std::string path, std::string selector, std::string metric_selector) {
  const std::string base = "/apis/" + std::string(kCustom);
  const auto group = co_await client_.get_raw(base);
  if (!group && group.error().code == Code::kNotFound) {
    co_return fail(
        wrapped({Code::kNotFound, "no custom metrics API (" + std::string(kCustom) + ") registered"}, "custom"));
  }
  if (!group) co_return fail(wrapped(group.error(), "custom"));
  const std::string version(str(at(*group, "preferredVersion"), "version"));
  if (version.empty()) co_return fail(wrapped(malformed("the API group names no version").error(), "custom"));
  const std::string parameters = query({{"labelSelector", selector}, {"metricLabelSelector", metric_selector}});
  auto list = co_await client_.get_raw(base + "/" + version + path + parameters);
  if (!list) co_return fail(wrapped(list.error(), "custom"));
  auto items = items_of(*list);
  if (!items) co_return fail(wrapped(std::move(items).error(), "custom"));
  co_return items;
}

Task<Result<PodMetrics>> MetricsClient::of_pods(std::string ns, std::string selector, std::string metric,
                                                std::string metric_selector) {
  const std::string path = "/namespaces/" + ns + "/pods/*/" + url_encode(metric);
  BRUME_CO_TRY(const Json items, co_await custom(path, std::move(selector), std::move(metric_selector)));
  if (items.empty()) co_return fail(Code::kInternal, "no metrics returned from custom metrics API");
  PodMetrics out;
  for (const Json& item : items) {
    const auto value = value_of(item);
    if (!value) co_return fail(wrapped(value.error(), "custom"));
    out[std::string(str(at(item, "describedObject"), "name"))] = {
        parse_rfc3339(str(item, "timestamp")).value_or(WallTime{}), window_of(item), *value};
  }
  co_return out;
}

Task<Result<std::int64_t>> MetricsClient::of_object(std::string ns, Json described, std::string metric,
                                                    std::string metric_selector) {
  const auto kind = str(described, "kind");
  const auto api_version = str(described, "apiVersion");
  std::string path = "/namespaces/" + ns;
  if (kind == "Namespace" && api_version.find('/') == std::string_view::npos) {
    path += "/metrics/" + url_encode(metric);  // its own namespace, whatever name is given
  } else {
    const auto resource = resource_of(api_version, kind);
    if (!resource) co_return fail(wrapped(resource.error(), "custom"));
    path += "/" + *resource + "/" + url_encode(str(described, "name")) + "/" + url_encode(metric);
  }
  BRUME_CO_TRY(const Json items, co_await custom(path, "", std::move(metric_selector)));
  if (items.size() != 1) {
    co_return fail(wrapped({Code::kInternal, "the custom metrics API server returned " + std::to_string(items.size()) +
                                                 " results when we asked for exactly one"},
                           "custom"));
  }
  const auto value = value_of(items.front());
  if (!value) co_return fail(wrapped(value.error(), "custom"));
  co_return *value;
}

Task<Result<std::vector<std::int64_t>>> MetricsClient::external(std::string ns, std::string metric,
                                                                std::string metric_selector) {
  const std::string path = "/apis/" + std::string(kExternal) + "/v1beta1/namespaces/" + ns + "/" + url_encode(metric);
  auto list = co_await client_.get_raw(path + query({{"labelSelector", metric_selector}}));
  if (!list) {
    Error error = std::move(list).error();
    if (error.code == Code::kNotFound) error.message += " (get " + metric + "." + std::string(kExternal) + ")";
    co_return fail(wrapped(std::move(error), "external"));
  }
  const auto items = items_of(*list);
  if (!items) co_return fail(wrapped(items.error(), "external"));
  if (items->empty()) co_return fail(Code::kInternal, "no metrics returned from external metrics API");
  std::vector<std::int64_t> out;
  for (const Json& item : *items) {
    const auto value = value_of(item);
    if (!value) co_return fail(wrapped(value.error(), "external"));
    out.push_back(*value);
  }
  co_return out;
}

}  // namespace brume::controller
