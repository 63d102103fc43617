// Brings a container's image onto the node by its pull policy, with credentials, back-off and the kubelet's events.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "brume/base/clock.h"
#include "brume/base/json.h"
#include "brume/base/task_fwd.h"
#include "brume/client/events.h"
#include "brume/runtime/images.h"

namespace brume::node {

/// Either the image, or why the container waits: reason and message as status shows them.
struct PullOutcome {
  std::shared_ptr<const runtime::Image> image;
  std::string reason;
  std::string message;
  std::chrono::steady_clock::duration retry_after{};  ///< without an image: when to ask again
};

/// The `auths` of a .dockerconfigjson that fit the image's registry and repository, most specific first.
[[nodiscard]] std::vector<runtime::RegistryAuth> matching_auths(const Json& docker_config,
                                                                const runtime::ImageReference& reference);
/// The text of spec.containers{name} and its kin, for events about a container.
[[nodiscard]] std::string container_field_path(const Json& pod, std::string_view container);

/// Owner: the node loop.
class ImagePuller {
 public:
  ImagePuller(runtime::Images& images, client::EventRecorder& events, Clock& clock)
      : images_(images), events_(events), clock_(clock) {}

  /// `about` is the pod, its field path the container. `secrets` are dockerconfigjson documents.
  Task<PullOutcome> ensure(client::ObjectReference about, Json container, std::vector<Json> secrets);
  /// Forgets the back-off of a pod that is gone.
  void forget(const std::string& pod_uid);

 private:
  struct BackOff {
    std::chrono::seconds delay{0};
    std::chrono::steady_clock::time_point until;
    std::chrono::steady_clock::time_point set;
    std::string last_reason;
    std::string last_message;
  };
  Task<PullOutcome> pull(client::ObjectReference about, std::string image, runtime::ImageReference reference,
                         std::vector<Json> secrets);
  PullOutcome failed(const client::ObjectReference& about, const std::string& image, const std::string& reason,
                     const std::string& message);

  runtime::Images& images_;
  client::EventRecorder& events_;
  Clock& clock_;
  std::map<std::string, BackOff> back_off_;  ///< by pod uid and image
};

}  // namespace brume::node
