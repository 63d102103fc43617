// What the new process does between clone3 and exec: it runs the launch plan.
#pragma once

#include <stdint.h>

namespace brume::shim {

struct Launch {
  const uint8_t* plan = nullptr;  // checked by check_plan
  int in = -1;                    // standard streams; -1: /dev/null
  int out = -1;
  int err = -1;
  int sync = -1;      // errors go up here; closed by a successful exec
  int target = -1;    // pidfd of the container's first process, for kPlanExec
  uint64_t join = 0;  // CLONE_NEW* to join of it
};

// A message on the sync socket.
struct SyncMessage {
  uint32_t kind;  // kSync*
  uint32_t step;
  int32_t error;
  char detail[244];
};
enum SyncKind : uint32_t { kSyncError = 1, kSyncTerminal = 2 };

[[noreturn]] void run_child(const Launch& launch);

// Sets a sysctl through a procfs handle that is mounted nowhere; -errno on failure.
int write_sysctl(const char* key, const char* value);

}  // namespace brume::shim
