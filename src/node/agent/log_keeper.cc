#include "agent/log_keeper.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

namespace brume::node {

std::vector<LogFile> logs_over(const std::vector<LogFile>& files, std::int64_t max_bytes) {
  std::vector<LogFile> out;
  for (const LogFile& file : files) {
    struct stat st = {};
    if (::lstat(file.path.c_str(), &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= max_bytes) out.push_back(file);
  }
  return out;
}

bool shift_logs(const std::string& path, int max_files) {
  const auto old = [&](int n) { return path + "." + std::to_string(n); };
  ::unlink(old(max_files - 1).c_str());
  for (int n = max_files - 2; n >= 1; --n) ::rename(old(n).c_str(), old(n + 1).c_str());
  if (max_files <= 1) return ::unlink(path.c_str()) == 0;
  return ::rename(path.c_str(), old(1).c_str()) == 0;
}

}  // namespace brume::node
