// Pieces of the pod's rules, shared by pods and everything that holds a pod template.
#pragma once

#include <map>
#include <string_view>

#include "api/validation/errors.h"
#include "api/validation/formats.h"
#include "brume/api/quantity.h"

namespace brume::api::validation {

/// The pod's sound volumes by name.
using Volumes = std::map<std::string_view, const Json*>;

/// What the containers of one pod share.
struct PodScope {
  const Json* spec = nullptr;
  Volumes volumes;
  bool is_pod = false;  ///< a pod itself, not a template of one
};

/// The whole spec. `pod_name` may be "" (templates, generateName).
void check_pod_spec(Errors& errors, const Path& path, const Json& spec, std::string_view pod_name, bool is_pod);
/// A PodTemplateSpec: labels, annotations and the spec.
void check_pod_template(Errors& errors, const Path& path, const Json& pod_template);
/// seccomp, AppArmor, mirror and deletion-cost annotations.
void check_pod_annotations(Errors& errors, const Path& path, const Json& annotations, const Json& spec);

[[nodiscard]] Volumes check_volumes(Errors& errors, const Path& path, const Json& volumes, std::string_view pod_name);
void check_containers(Errors& errors, const Path& path, const Json& list, const PodScope& scope);
void check_init_containers(Errors& errors, const Path& path, const Json& list, const PodScope& scope);
void check_ephemeral_containers(Errors& errors, const Path& path, const Json& list, const PodScope& scope);
void check_env(Errors& errors, const Path& path, const Json& list);
void check_env_from(Errors& errors, const Path& path, const Json& list);
/// What the downward API offers: fieldRef and resourceFieldRef.
void check_field_ref(Errors& errors, const Path& path, const Json& ref, bool volume);
void check_resource_field_ref(Errors& errors, const Path& path, const Json& ref, bool volume);
void check_probe(Errors& errors, const Path& path, const Json& probe, std::string_view kind);
void check_lifecycle(Errors& errors, const Path& path, const Json& lifecycle, const Json& pod_spec);
void check_security_context(Errors& errors, const Path& path, const Json& context, bool host_users);
void check_pod_security_context(Errors& errors, const Path& path, const Json& context, const Json& spec);
void check_affinity(Errors& errors, const Path& path, const Json& affinity);
void check_node_selector(Errors& errors, const Path& path, const Json& selector);
void check_tolerations(Errors& errors, const Path& path, const Json& list);
void check_spread_constraints(Errors& errors, const Path& path, const Json& list);
/// One of the three taint effects.
void check_taint_effect(Errors& errors, const Path& path, std::string_view effect);

/// Limits and requests of a container (or, with `pod_level`, of the whole pod).
void check_resources(Errors& errors, const Path& path, const Json& resources, bool pod_level = false);
/// A quantity that is not negative, and whole where the resource counts things.
void check_resource_amount(Errors& errors, const Path& path, std::string_view resource, const Json& amount);
/// A qualified name that is standard where it has no domain.
void check_resource_name(Errors& errors, const Path& path, std::string_view name);
/// One that containers can ask for.
void check_container_resource_name(Errors& errors, const Path& path, std::string_view name);
[[nodiscard]] bool is_native_resource(std::string_view name);
[[nodiscard]] bool is_extended_resource(std::string_view name);
/// Of text or a number; zero for what is no quantity (decoding has refused that already).
[[nodiscard]] Quantity quantity_of(const Json& value);

/// A relative path without "..".
void check_descending_path(Errors& errors, const Path& path, std::string_view value);
/// The same, and not beginning with ".." either.
void check_local_path(Errors& errors, const Path& path, std::string_view value);
void check_no_backsteps(Errors& errors, const Path& path, std::string_view value);
/// A port's number, or its name.
void check_port_or_name(Errors& errors, const Path& path, const Json& port);
/// A PersistentVolumeClaim's spec.
void check_claim_spec(Errors& errors, const Path& path, const Json& spec, bool in_template);
void check_host_path(Errors& errors, const Path& path, const Json& source);
void check_csi_driver_name(Errors& errors, const Path& path, std::string_view name);

// Whole pods.
void create_pod(Errors& errors, const Json& pod);
void update_pod(Errors& errors, const Json& pod, const Json& old);
void update_ephemeral_containers(Errors& errors, const Json& pod, const Json& old);
void update_pod_resize(Errors& errors, const Json& pod, const Json& old);
void update_pod_status(Errors& errors, const Json& pod, const Json& old);

}  // namespace brume::api::validation
