// The command line: one binary, several commands.
#include <sys/utsname.h>

#include <cstdio>
#include <string>
#include <vector>

#include "cmd/commands.h"
#include "cmd/version.h"

namespace brume::cmd {

namespace {

struct Command {
  std::string_view name;
  std::string_view help;
  int (*run)(const std::vector<std::string>& arguments);
};

int version(const std::vector<std::string>& /*arguments*/) {
  utsname host{};
  ::uname(&host);
  std::printf("brume %s (Kubernetes API %s, %s %s)\n", std::string(kVersion).c_str(),
              std::string(kKubernetesVersion).c_str(), host.sysname, host.machine);
  return 0;
}

constexpr Command kCommands[] = {
    {"server", "run the whole of Kubernetes on this machine", &run_server},
    {"check", "tell what this kernel offers and lacks", &run_check},
    {"image", "import, pull, list and remove container images", &run_image},
    {"kubeconfig", "print the admin kubeconfig", &run_kubeconfig},
    {"cleanup", "remove what a stopped server left: pods, mounts, links, rules", &run_cleanup},
    {"dns", "serve cluster DNS (what the DNS pods run)", &run_dns},
    {"version", "print the version", &version},
};

void print_help(std::FILE* out) {
  std::fputs("brume: Kubernetes in one binary.\n\nusage: brume COMMAND [flags]\n\n", out);
  for (const auto& command : kCommands) {
    std::fprintf(out, "  %-12s%s\n", std::string(command.name).c_str(), std::string(command.help).c_str());
  }
  std::fputs("\nbrume COMMAND --help tells more.\n", out);
}

}  // namespace

int main(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    print_help(stderr);
    return 2;
  }
  const std::string& name = arguments.front();
  if (name == "-h" || name == "--help" || name == "help") {
    print_help(stdout);
    return 0;
  }
  if (name == "--version" || name == "-v") return version({});
  for (const auto& command : kCommands) {
    if (command.name == name) return command.run({arguments.begin() + 1, arguments.end()});
  }
  std::fprintf(stderr, "brume: unknown command \"%s\"; see brume --help\n", name.c_str());
  return 2;
}

}  // namespace brume::cmd

int main(int argc, char** argv) { return brume::cmd::main({argv + 1, argv + argc}); }
