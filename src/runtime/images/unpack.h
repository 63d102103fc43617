// Unpacking one layer's tar into a directory that overlayfs can use as a lower layer.
#pragma once

#include <cstdint>
#include <string>

#include "brume/base/result.h"
#include "runtime/images/decompress.h"

namespace brume::runtime {

/// Unpacks `source` below `directory` (which exists and is empty) and gives the bytes written. Names cannot lead out of
/// the directory, by symlink, hard link or "..". OCI whiteouts become overlayfs'. Reads the source to its end, so that
/// its digest covers all. Blocks. kCorrupt for a broken archive, kIo for the disk's errors.
Result<std::uint64_t> unpack_layer(Decompressor& source, const std::string& directory);

/// Unpacks the regular files of an image archive (docker save, OCI layout) below `directory`; anything else in it is
/// passed over.
Status unpack_archive(Decompressor& source, const std::string& directory);

}  // namespace brume::runtime
