// Reading layer bytes: plain, gzip or zstd, found out by their magic, with the digest of what comes out.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "brume/base/crypto.h"
#include "brume/base/result.h"
#include "brume/linux/fd.h"

namespace brume::runtime {

/// Streams a file's bytes, decompressed. Blocks; owner: one blocking thread. Its memory does not grow with the file.
class Decompressor {
 public:
  /// kCorrupt for an unknown or broken compression at open or read.
  static Result<std::unique_ptr<Decompressor>> open(const std::string& path);
  virtual ~Decompressor() = default;
  /// The next bytes, valid until the next call; empty at the end. kCorrupt when the stream is cut or damaged.
  virtual Result<std::string_view> read() = 0;
  /// SHA-256 (hex) of all bytes given so far.
  [[nodiscard]] std::string digest() const { return hash_.hex(); }

 protected:
  Sha256 hash_;
};

}  // namespace brume::runtime
