// Persistent volumes, claims and storage classes.
#include "validation_fixture.h"

using namespace brume;
using namespace brume::api;

namespace {

constexpr std::string_view kVolume =
    R"({"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"a"},"spec":{"accessModes":["ReadWriteOnce"],
        "capacity":{"storage":"1Gi"},"hostPath":{"path":"/a"}}})";
constexpr std::string_view kClaim =
    R"({"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"a","namespace":"n"},"spec":{
        "accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"2Gi"}}}})";
constexpr std::string_view kBound =
    R"({"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"a","namespace":"n"},"spec":{
        "accessModes":["ReadWriteOnce"],"volumeName":"v","storageClassName":"c","resources":{"requests":{"storage":"2Gi"}}},
        "status":{"phase":"Bound","capacity":{"storage":"1Gi"},"currentVolumeAttributesClassName":"gold"}})";
constexpr std::string_view kClass =
    R"({"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","metadata":{"name":"a"},"provisioner":"example.com/disks",
        "parameters":{"a":"b"}})";

}  // namespace

TEST_CASE("persistent volumes") {
  check_all("persistentvolumes", kVolume,
            {{R"({"spec":{"accessModes":[]}})", {"spec.accessModes: Required value"}},
             {R"({"spec":{"accessModes":["ReadWriteOncePod","ReadWriteOnce"]}})",
              {"spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"}},
             {R"({"spec":{"capacity":{"storage":"0"}}})",
              {"spec.capacity[storage]: Invalid value: \"0\": must be greater than zero"}},
             {R"({"spec":{"hostPath":null}})", {"spec: Required value: must specify a volume type"}},
             {R"({"spec":{"hostPath":{"path":"/a/../b"}}})",
              {"spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"}},
             {R"({"spec":{"hostPath":{"path":"//"},"persistentVolumeReclaimPolicy":"Recycle"}})",
              {"spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"}},
             {R"({"spec":{"nfs":{"server":"s","path":"/"}}})",
              {"spec.nfs: Forbidden: may not specify more than 1 volume type"}},
             {R"({"spec":{"hostPath":null,"local":{"path":"/a"}}})",
              {"spec.nodeAffinity: Required value: Local volume requires node affinity"}},
             {R"({"spec":{"hostPath":null,"local":{"path":""},"nodeAffinity":{}}})",
              {"spec.nodeAffinity.required: Required value: must specify required node constraints",
               "spec.local.path: Required value"}},
             {R"({"spec":{"volumeMode":"File"}})",
              {R"(spec.volumeMode: Unsupported value: "File": supported values: "Block", "Filesystem")"}},
             {R"({"spec":{"volumeAttributesClassName":""}})",
              {"spec.volumeAttributesClassName: Required value: an empty string is disallowed",
               "spec.csi: Required value: has to be specified when using volumeAttributesClassName"}}});
  check_updates("persistentvolumes", kVolume,
                {{R"({"spec":{"capacity":{"storage":"2Gi"},"persistentVolumeReclaimPolicy":"Delete"}})", {}},
                 {R"({"spec":{"claimRef":{"namespace":"n","name":"c"}}})", {}},
                 {R"({"spec":{"hostPath":{"path":"/b"}}})",
                  {"spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"}},
                 {R"({"spec":{"volumeMode":"Block"}})", {"volumeMode: Invalid value: \"Block\": field is immutable"}}});
}

TEST_CASE("persistent volume claims") {
  check_all(
      "persistentvolumeclaims", kClaim,
      {{R"({"spec":{"accessModes":["Sometimes"]}})",
        {R"(spec.accessModes: Unsupported value: "Sometimes": supported values: "ReadOnlyMany", "ReadWriteMany", )"
         R"("ReadWriteOnce", "ReadWriteOncePod")"}},
       {R"({"spec":{"resources":{"requests":{"storage":"-1"}}}})",
        {"spec.resources[storage]: Invalid value: \"-1\": must be greater than zero"}},
       {R"({"spec":{"dataSource":{"kind":"Pod","name":"p"}}})",
        {"spec.dataSource: Invalid value: \"Pod\": must be 'PersistentVolumeClaim' when referencing the default "
         "apiGroup"}},
       {R"({"spec":{"dataSource":{"kind":"PersistentVolumeClaim","name":"p"},
                    "dataSourceRef":{"kind":"PersistentVolumeClaim","name":"q"}}})",
        {"spec: Invalid value: \"spec.dataSource\": must match dataSourceRef"}}});
  check_updates(
      "persistentvolumeclaims", kClaim,
      {{R"({"spec":{"volumeName":"v"}})", {}},
       {R"({"spec":{"storageClassName":"late"}})", {}},
       {R"({"spec":{"resources":{"requests":{"storage":"3Gi"}}}})",
        {"spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName "
         "for bound claims"}}});
  check_updates(
      "persistentvolumeclaims", kBound,
      {{R"({"spec":{"resources":{"requests":{"storage":"3Gi"}}}})", {}},
       {R"({"spec":{"resources":{"requests":{"storage":"1500Mi"}}}})", {}},  // a growth is taken back
       {R"({"spec":{"resources":{"requests":{"storage":"1Gi"}}}})",
        {"spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"}},
       {R"({"spec":{"volumeName":"w"}})",
        {"spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName "
         "for bound claims"}},
       {R"({"spec":{"storageClassName":"d"}})",
        {"spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName "
         "for bound claims"}},
       {R"({"spec":{"volumeAttributesClassName":"silver"}})", {}},
       {R"({"spec":{"volumeAttributesClassName":""}})",
        {"spec.volumeAttributesClassName: Forbidden: update to empty string is forbidden when "
         "status.currentVolumeAttributesClassName is not nil"}}});
}

TEST_CASE("storage classes") {
  check_all("storageclasses.storage.k8s.io", kClass,
            {{R"({"provisioner":""})", {"provisioner: Required value"}},
             {R"({"reclaimPolicy":"Recycle"})",
              {R"(reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain")"}},
             {R"({"parameters":{"":"x"}})", {"parameters: Invalid value: \"\": field can not be empty."}},
             {R"({"allowedTopologies":[{"matchLabelExpressions":[{"key":"zone","values":["a","a"]},
                                                                 {"key":"zone","values":[]}]}]})",
              {"allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: \"a\"",
               "allowedTopologies[0].matchLabelExpressions[1].values: Required value",
               "allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: \"zone\""}}});
  check_updates("storageclasses.storage.k8s.io", kClass,
                {{R"({"allowVolumeExpansion":true})", {}},
                 {R"({"provisioner":"other"})", {"provisioner: Invalid value: \"other\": field is immutable"}},
                 {R"({"reclaimPolicy":"Retain"})", {"reclaimPolicy: Invalid value: \"Retain\": field is immutable"}},
                 {R"({"parameters":{"a":"c"}})", {"parameters: Invalid value: {\"a\":\"c\"}: field is immutable"}}});
}
