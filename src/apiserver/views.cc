// Resources that are another API's form of stored ones: events.k8s.io/v1 Events are core/v1 Events under other names,
// autoscaling/v1 HorizontalPodAutoscalers those of v2.
#include <array>

#include "brume/api/autoscaling.h"
#include "registry_impl.h"

namespace brume::apiserver {

namespace {

struct Renamed {
  const char* core;
  const char* view;
};

constexpr std::array kEventFields = {
    Renamed{"involvedObject", "regarding"},
    Renamed{"message", "note"},
    Renamed{"source", "deprecatedSource"},
    Renamed{"firstTimestamp", "deprecatedFirstTimestamp"},
    Renamed{"lastTimestamp", "deprecatedLastTimestamp"},
    Renamed{"count", "deprecatedCount"},
    Renamed{"reportingComponent", "reportingController"},
};

void rename(Json& object, const char* from, const char* to) {
  const auto it = object.find(from);
  if (it == object.end()) return;
  Json value = std::move(*it);
  object.erase(it);
  object[to] = std::move(value);
}

void event_to_view(Json& object) {
  for (const Renamed& field : kEventFields) rename(object, field.core, field.view);
  object["apiVersion"] = "events.k8s.io/v1";
}

void event_to_core(Json& object) {
  for (const Renamed& field : kEventFields) rename(object, field.view, field.core);
  object["apiVersion"] = "v1";
  // Go writes these two of a core Event always.
  if (!object.contains("source")) object["source"] = Json::object();
  if (!object.contains("involvedObject")) object["involvedObject"] = Json::object();
}

}  // namespace

const View* view_of(const api::Resource& resource) {
  static const View autoscalers{&api::res("horizontalpodautoscalers.autoscaling"), &api::autoscaler_to_v1,
                                &api::autoscaler_to_v2};
  if (resource.group == "autoscaling" && resource.version == "v1" && resource.plural == "horizontalpodautoscalers") {
    return &autoscalers;
  }
  static const View events{&api::res("events"), &event_to_view, &event_to_core};
  return resource.group == "events.k8s.io" && resource.plural == "events" ? &events : nullptr;
}

}  // namespace brume::apiserver
