// The two versions of HorizontalPodAutoscalers: autoscaling/v2 is stored, autoscaling/v1 is another form of it.
#pragma once

#include "brume/base/json_fwd.h"

namespace brume::api {

/// From v2 to v1, in place. What v1 has no field for (metrics but the processor's, behaviour, conditions) becomes
/// annotations autoscaling.alpha.kubernetes.io/*, as Kubernetes writes them.
void autoscaler_to_v1(Json& object);
/// From v1 to v2, in place. Annotations that do not parse are dropped.
void autoscaler_to_v2(Json& object);
/// Takes those annotations away: a v2 object has none.
void drop_autoscaler_annotations(Json& object);
/// Makes those of the annotations that hold parts of the spec, or of the status, what they are in `old` (null: none).
void keep_autoscaler_spec_annotations(Json& object, const Json& old);
void keep_autoscaler_status_annotations(Json& object, const Json& old);

}  // namespace brume::api
