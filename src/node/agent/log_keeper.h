// Rotation of container logs: at a size the file is renamed, the runtime opens a fresh one, old ones go.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace brume::node {

/// A log that may need rotation.
struct LogFile {
  std::string sandbox_id, container_id;
  std::string path;
};

/// Those of `files` that have reached `max_bytes`. Blocks.
[[nodiscard]] std::vector<LogFile> logs_over(const std::vector<LogFile>& files, std::int64_t max_bytes);
/// Renames path to path.1, path.1 to path.2 and so on; at most `max_files` in all stay. The runtime must be told to
/// open the log anew. Blocks. False when nothing could be renamed.
bool shift_logs(const std::string& path, int max_files);

}  // namespace brume::node
