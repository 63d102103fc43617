// The commands of the binary. Each takes its arguments, writes to standard output and error, and gives the exit status:
// 0 done, 1 failed (one line says why and how to mend it), 2 called wrongly.
#pragma once

#include <string>
#include <vector>

#include "brume/base/result.h"

namespace brume::cmd {

/// Why no node runs in a chroot, and what to do.
inline constexpr std::string_view kChrooted =
    "brume runs in a chroot, where exec would lead out of containers: pivot_root(8) to that directory in a mount "
    "namespace of its own";

int run_server(const std::vector<std::string>& arguments);
int run_check(const std::vector<std::string>& arguments);
int run_image(const std::vector<std::string>& arguments);
int run_kubeconfig(const std::vector<std::string>& arguments);
int run_cleanup(const std::vector<std::string>& arguments);
int run_dns(const std::vector<std::string>& arguments);

/// Prints "brume: message" to standard error and gives 1, or 2 for a wrong call (kInvalid).
int report(const Error& error);

/// Whether --help or -h is among the arguments.
bool wants_help(const std::vector<std::string>& arguments);

}  // namespace brume::cmd
