#include "worker/image_puller.h"

#include <algorithm>

#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "pod/pod.h"

namespace brume::node {

namespace {

// The kubelet's image back-off: 10 s doubling to 5 min, forgotten after twice that.
constexpr std::chrono::seconds kInitial{10};
constexpr std::chrono::seconds kMax{300};

// host[/path] of a key of docker's config: a scheme and a trailing slash are allowed there.
std::string auth_target(std::string_view key) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (key.starts_with(scheme)) key.remove_prefix(scheme.size());
  }
  for (const std::string_view tail : {"/v1/", "/v2/", "/v1", "/v2", "/"}) {
    if (key.ends_with(tail)) {
      key.remove_suffix(tail.size());
      break;
    }
  }
  std::string text(key);
  for (const char* hub : {"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}) {
    if (text == hub || text.starts_with(std::string(hub) + "/"))
      text = "docker.io" + text.substr(std::string_view(hub).size());
  }
  return text;
}

bool host_matches(std::string_view pattern, std::string_view host) {
  const auto want = split(pattern, '.');
  const auto have = split(host, '.');
  if (want.size() != have.size()) return false;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (want[i] == "*" && !have[i].empty()) continue;
    if (want[i].starts_with("*") && have[i].ends_with(want[i].substr(1))) continue;
    if (want[i] != have[i]) return false;
  }
  return true;
}

std::optional<runtime::RegistryAuth> auth_of(const Json& entry) {
  runtime::RegistryAuth auth;
  auth.username = str(entry, "username");
  auth.password = str(entry, "password");
  auth.token = str(entry, "registrytoken");
  if (const auto both = str(entry, "auth"); !both.empty()) {
    const auto text = base64_decode(both);
    if (!text) return std::nullopt;
    const auto colon = text->find(':');
    if (colon == std::string::npos) return std::nullopt;
    auth.username = text->substr(0, colon);
    auth.password = text->substr(colon + 1);
  }
  if (auth.username.empty() && auth.token.empty()) return std::nullopt;
  return auth;
}

std::string policy_of(const Json& container, const runtime::ImageReference& reference) {
  const std::string policy(str(container, "imagePullPolicy"));
  if (!policy.empty()) return policy;
  return reference.digest.empty() && reference.tag == "latest" ? "Always" : "IfNotPresent";
}

}  // namespace

std::vector<runtime::RegistryAuth> matching_auths(const Json& docker_config, const runtime::ImageReference& reference) {
  std::multimap<std::size_t, runtime::RegistryAuth, std::greater<>> found;  // by length of what matched
  const Json& auths = docker_config.contains("auths") ? at(docker_config, "auths") : docker_config;
  if (!auths.is_object()) return {};
  for (const auto& [key, entry] : auths.items()) {
    const std::string target = auth_target(key);
    const auto slash = target.find('/');
    const std::string path = slash == std::string::npos ? "" : target.substr(slash + 1);
    if (!host_matches(target.substr(0, slash), reference.registry)) continue;
    if (!path.empty() && reference.repository != path && !reference.repository.starts_with(path + "/")) continue;
    if (auto auth = auth_of(entry)) found.emplace(target.size(), *std::move(auth));
  }
  std::vector<runtime::RegistryAuth> out;
  for (auto& [size, auth] : found) out.push_back(std::move(auth));
  return out;
}

std::string container_field_path(const Json& pod, std::string_view container) {
  for (const ContainerEntry& entry : containers_of(pod)) {
    if (str(*entry.spec, "name") != container) continue;
    const char* list = entry.kind == ContainerKind::kInit  ? "spec.initContainers{"
                       : entry.kind == ContainerKind::kApp ? "spec.containers{"
                                                           : "spec.ephemeralContainers{";
    return list + std::string(container) + "}";
  }
  return {};
}

Task<PullOutcome> ImagePuller::ensure(client::ObjectReference about, Json container, std::vector<Json> secrets) {
  const std::string image(str(container, "image"));
  auto reference = runtime::ImageReference::parse(image);
  PullOutcome out;
  if (!reference) {
    out.reason = "InvalidImageName";
    out.message = "Failed to apply default image tag \"" + image + "\": " + reference.error().message;
    out.retry_after = kMax;
    events_.event(about, true, "InspectFailed", out.message);
    events_.event(about, true, "Failed", "Error: InvalidImageName");
    co_return out;
  }
  const std::string policy = policy_of(container, *reference);
  if (policy != "Always") {
    out.image = images_.find(image);
    if (!out.image) out.image = images_.find(reference->name());
    if (out.image) {
      events_.event(about, false, "Pulled", "Container image \"" + image + "\" already present on machine");
      co_return out;
    }
    if (policy == "Never") {
      out.reason = "ErrImageNeverPull";
      out.message = "Container image \"" + image + "\" is not present with pull policy of Never";
      out.retry_after = kInitial;
      events_.event(about, true, "ErrImageNeverPull", out.message);
      events_.event(about, true, "Failed", "Error: ErrImageNeverPull");
      co_return out;
    }
  }
  co_return co_await pull(std::move(about), image, *std::move(reference), std::move(secrets));
}

Task<PullOutcome> ImagePuller::pull(client::ObjectReference about, std::string image, runtime::ImageReference reference,
                                    std::vector<Json> secrets) {
  const std::string key = about.uid + "_" + image;
  if (const auto it = back_off_.find(key); it != back_off_.end() && it->second.until > clock_.steady()) {
    PullOutcome out;
    out.reason = "ImagePullBackOff";
    const std::string text = "Back-off pulling image \"" + image + "\"";
    out.message = text + ": " + it->second.last_reason + ": " + it->second.last_message;
    out.retry_after = it->second.until - clock_.steady();
    events_.event(about, false, "BackOff", text);
    events_.event(about, true, "Failed", "Error: ImagePullBackOff");
    co_return out;
  }
  events_.event(about, false, "Pulling", "Pulling image \"" + image + "\"");
  const auto begun = clock_.steady();
  std::vector<std::optional<runtime::RegistryAuth>> tries;
  for (const Json& secret : secrets) {
    for (auto& auth : matching_auths(secret, reference)) tries.emplace_back(std::move(auth));
  }
  if (tries.empty()) tries.emplace_back(std::nullopt);
  Error error;
  for (auto& auth : tries) {
    auto pulled = co_await images_.pull(reference, auth);
    if (pulled) {
      const auto took =
          duration_text_ms(std::chrono::duration_cast<std::chrono::milliseconds>(clock_.steady() - begun));
      events_.event(about, false, "Pulled",
                    "Successfully pulled image \"" + image + "\" in " + took + " (" + took +
                        " including waiting). Image size: " + std::to_string(pulled->size) + " bytes.");
      back_off_.erase(key);
      PullOutcome out;
      out.image = std::make_shared<const runtime::Image>(*std::move(pulled));
      co_return out;
    }
    error = std::move(pulled).error();
    if (error.code != Code::kUnauthorized && error.code != Code::kForbidden && error.code != Code::kNotFound) break;
  }
  co_return failed(about, image, "ErrImagePull", error.message);
}

PullOutcome ImagePuller::failed(const client::ObjectReference& about, const std::string& image,
                                const std::string& reason, const std::string& message) {
  BackOff& back_off = back_off_[about.uid + "_" + image];
  const auto now = clock_.steady();
  const bool stale = back_off.delay.count() > 0 && now - back_off.set > 2 * kMax;
  back_off.delay = back_off.delay.count() == 0 || stale ? kInitial : std::min(back_off.delay * 2, kMax);
  back_off.set = now;
  back_off.until = now + back_off.delay;
  back_off.last_reason = reason;
  back_off.last_message = message;
  events_.event(about, true, "Failed", "Failed to pull image \"" + image + "\": " + message);
  events_.event(about, true, "Failed", "Error: " + reason);
  PullOutcome out;
  out.reason = reason;
  out.message = message;
  // Soon enough that the state changes to ImagePullBackOff, as users know it.
  out.retry_after = std::chrono::seconds(1);
  return out;
}

void ImagePuller::forget(const std::string& pod_uid) {
  const std::string prefix = pod_uid + "_";
  auto it = back_off_.lower_bound(prefix);
  while (it != back_off_.end() && it->first.starts_with(prefix)) it = back_off_.erase(it);
}

}  // namespace brume::node
