// What the files of a configMap, secret, downwardAPI or projected volume hold.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "brume/base/json.h"
#include "brume/base/result.h"
#include "brume/base/time.h"
#include "spec/env.h"
#include "spec/fields.h"
#include "volumes/atomic_writer.h"

namespace brume::node {

/// A serviceAccountToken source of a projected volume.
struct TokenSource {
  std::string key;  ///< volume name and source index: identifies it within the pod
  std::string audience;
  std::int64_t expiration_seconds = 3600;
};
[[nodiscard]] std::vector<TokenSource> token_sources(const Json& pod);

struct Token {
  std::string text;
  WallTime issued;
  WallTime expires;
  /// When to ask for the next one: after 80 % of its life, and after 24 hours at the latest.
  [[nodiscard]] WallTime refresh_at() const;
};
using Tokens = std::map<std::string, Token>;  ///< by TokenSource::key

struct PayloadInputs {
  const Json& pod;
  const PodObjects& objects;
  const Tokens& tokens;
  const PodRuntimeInfo& info;
};

/// Whether the volume is one whose files the node writes.
[[nodiscard]] bool has_payload(const Json& volume);
/// The volume's files. kNotFound and kInvalid with the kubelet's text for missing objects and keys.
[[nodiscard]] Result<Payload> make_payload(const Json& volume, const PayloadInputs& in);

}  // namespace brume::node
