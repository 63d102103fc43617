// Every file of a directory tree.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <functional>
#include <string>

#include "brume/base/result.h"

namespace brume::linux_os {

/// `name` in the open directory `directory`, with what lstat(2) says of it; of a directory itself `name` is null and
/// `directory` is the one.
using Visit = std::function<void(int directory, const char* name, const struct stat& info)>;

/// Visits a directory and all below it, a directory before what is in it. Follows no symlink and leaves out other
/// filesystems. What comes or goes meanwhile may be visited or not. Needs a bounded number of file descriptors however
/// deep the tree is. kNotFound when `path` is absent. Blocks, until `stop` (if there is one) is set: kCancelled.
Status walk_tree(const std::string& path, const Visit& visit, const std::atomic<bool>* stop = nullptr);

}  // namespace brume::linux_os
