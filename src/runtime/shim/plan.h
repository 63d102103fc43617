// The launch plan and the frames of the shim's socket: shared by the daemon, which writes them, and the freestanding
// shim, which reads them. No library here. docs/formats/shim-plan.md describes every field.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace brume::shim {

// ---- Launch plan
// -----------------------------------------------------------------------------------------------------

constexpr uint32_t kPlanMagic = 0x4e4c5042;  // "BPLN", little endian
constexpr uint32_t kPlanVersion = 1;
constexpr uint32_t kPlanMaxSize = 16U << 20;
constexpr int kMaxSources = 256;  // detached mounts that a plan may hold open

enum PlanFlags : uint32_t {
  kPlanExec = 1,      // runs inside a container that exists: the shim joins its namespaces first
  kPlanTerminal = 2,  // the streams are a pseudo-terminal made by the op kTerminal
};

struct PlanHeader {
  uint32_t magic;
  uint32_t version;
  uint32_t size;  // of the whole plan, this header included
  uint32_t flags;
  uint64_t clone_flags;  // CLONE_NEW* for clone3
  uint32_t op_count;
  uint32_t reserved;
};

struct OpHeader {
  uint32_t op;
  uint32_t size;  // of the payload that follows, a multiple of 4
};

// The steps of a plan, run in the order in which they stand.
enum Op : uint32_t {
  kOpNone = 0,
  kOpJoinNamespace,  // s path, u CLONE_NEW*
  kOpUnshare,        // u flags
  kOpOpenSource,     // u slot, u recursive, s path, s subpath: a detached copy of a host mount
  kOpPropagation,    // u MS_*: of every mount in the new mount namespace
  kOpOverlayRoot,    // s upper, s work, s merged, S lower directories, highest first
  kOpBindRoot,       // u slot, s merged
  kOpMount,          // s fstype, s source, s target, S options, u attributes, u propagation, u flags (kMount*)
  kOpAttach,         // u slot, s target, U set, U clear, u recursive, u propagation
  kOpDevice,         // s path, u type and mode, u major, u minor, u uid, u gid
  kOpSymlink,        // s content, s path
  kOpMakeDirectory,  // s path
  kOpMask,           // s path
  kOpReadonly,       // s path
  kOpReadonlyRoot,   //
  kOpPivot,          // u propagation of the new root, 0: none
  kOpSysctl,         // s key with slashes, s value
  kOpHostname,       // s host name, s domain name
  kOpRlimit,         // u resource, U soft, U hard
  kOpOomScore,       // u score as a signed number, u required
  kOpTerminal,       // u console: bind it on /dev/console, u columns, u rows
  kOpDirectory,      // s working directory
  kOpCredentials,    // u uid, u gid, u umask, L groups, U bounding, U effective, U permitted, U ambient, u no new
                     // privileges, u has seccomp, u seccomp flags, b filter
  kOpExec,           // s program, S argv, S env
  kOpCount,
};

enum MountFlags : uint32_t {
  kMountNoSymlinks = 1,  // the target must be free of symlinks: /proc, /sys and what lies under /dev
  kMountCgroup = 2,      // cgroup2; bind the host's where a new one is refused
};

// How each payload is laid out: u 32 bits, U 64 bits, s string (length, bytes, NUL, padding to 4), S count and strings,
// L count and 32-bit numbers, b length, bytes, padding to 4.
inline const char* op_layout(uint32_t op) {
  switch (op) {
    case kOpJoinNamespace: return "su";
    case kOpUnshare: return "u";
    case kOpOpenSource: return "uuss";
    case kOpPropagation: return "u";
    case kOpOverlayRoot: return "sssS";
    case kOpBindRoot: return "us";
    case kOpMount: return "sssSuuu";
    case kOpAttach: return "usUUuu";
    case kOpDevice: return "suuuuu";
    case kOpSymlink: return "ss";
    case kOpMakeDirectory: return "s";
    case kOpMask: return "s";
    case kOpReadonly: return "s";
    case kOpReadonlyRoot: return "";
    case kOpPivot: return "u";
    case kOpSysctl: return "ss";
    case kOpHostname: return "ss";
    case kOpRlimit: return "uUU";
    case kOpOomScore: return "uu";
    case kOpTerminal: return "uuu";
    case kOpDirectory: return "s";
    case kOpCredentials: return "uuuLUUUUuuub";
    case kOpExec: return "sSS";
    default: return nullptr;
  }
}

// Reads a payload. Every read is bounds-checked; after the first bad one `bad` stays set and the answers are empty.
struct Cursor {
  const uint8_t* at;
  const uint8_t* end;
  bool bad = false;

  uint32_t u32() {
    if (bad || static_cast<size_t>(end - at) < 4) {
      bad = true;
      return 0;
    }
    uint32_t value;
    __builtin_memcpy(&value, at, 4);
    at += 4;
    return value;
  }
  uint64_t u64() {
    uint64_t low = u32();
    return low | (static_cast<uint64_t>(u32()) << 32);
  }
  const uint8_t* bytes(uint32_t& length) {
    length = u32();
    size_t padded = (static_cast<size_t>(length) + 3) & ~static_cast<size_t>(3);
    if (bad || static_cast<size_t>(end - at) < padded) {
      bad = true;
      length = 0;
      return nullptr;
    }
    const uint8_t* start = at;
    at += padded;
    return start;
  }
  // A string without inner NUL, ended by NUL in place.
  const char* str() {
    uint32_t length = 0;
    const uint8_t* start = bytes(length);
    if (start == nullptr || length == 0 || start[length - 1] != 0) {
      bad = true;
      return "";
    }
    for (uint32_t i = 0; i + 1 < length; ++i) {
      if (start[i] == 0) {
        bad = true;
        return "";
      }
    }
    return reinterpret_cast<const char*>(start);
  }
};

inline bool check_payload(const char* layout, Cursor cursor) {
  for (; *layout != 0 && !cursor.bad; ++layout) {
    uint32_t length = 0;
    switch (*layout) {
      case 'u': cursor.u32(); break;
      case 'U': cursor.u64(); break;
      case 's': cursor.str(); break;
      case 'b': cursor.bytes(length); break;
      case 'L':
        length = cursor.u32();
        for (uint32_t i = 0; i < length && !cursor.bad; ++i) cursor.u32();
        break;
      case 'S':
        length = cursor.u32();
        for (uint32_t i = 0; i < length && !cursor.bad; ++i) cursor.str();
        break;
      default: return false;
    }
  }
  return !cursor.bad && cursor.at == cursor.end;
}

// Whether the bytes are a plan: known steps, each exactly of its layout, the last one kOpExec. `data` must be aligned
// to 8.
inline bool check_plan(const uint8_t* data, size_t size) {
  if (size < sizeof(PlanHeader) || size > kPlanMaxSize) return false;
  PlanHeader header;
  __builtin_memcpy(&header, data, sizeof header);
  if (header.magic != kPlanMagic || header.version != kPlanVersion || header.size != size) return false;
  const uint8_t* at = data + sizeof header;
  const uint8_t* end = data + size;
  uint32_t last = kOpNone;
  for (uint32_t i = 0; i < header.op_count; ++i) {
    if (static_cast<size_t>(end - at) < sizeof(OpHeader)) return false;
    OpHeader op;
    __builtin_memcpy(&op, at, sizeof op);
    at += sizeof op;
    if (op.size % 4 != 0 || static_cast<size_t>(end - at) < op.size) return false;
    const char* layout = op_layout(op.op);
    if (layout == nullptr || !check_payload(layout, Cursor{at, at + op.size})) return false;
    if ((op.op == kOpOpenSource || op.op == kOpBindRoot || op.op == kOpAttach)) {
      if (Cursor{at, at + op.size}.u32() >= kMaxSources) return false;
    }
    at += op.size;
    last = op.op;
  }
  return at == end && last == kOpExec;
}

// ---- Socket protocol: SEQPACKET, one frame a message
// -----------------------------------------------------------------

constexpr uint32_t kFrameMax = 8192;
constexpr int kIdMax = 127;
constexpr int kPathMax = 1023;

enum FrameType : uint16_t {
  // Requests. Each is answered by one kFrameReply with the same sequence number.
  kFrameSetup = 1,   // u bring up lo, u shared PID namespace, s host name, S sysctls (key, value, ...)
  kFrameStart,       // s id, s log path, s cgroup directory, u kStart*; descriptor: plan. Reply carries pidfd
  kFrameExec,        // s container id, u exec number; descriptors: plan, [stdin, stdout, stderr]. Reply: pidfd, [pty]
  kFrameSignal,      // s id, u exec number or 0, u signal
  kFrameStatus,      // a kFrameContainer for each container, then the reply
  kFrameAttach,      // s id; descriptors: stdout, stderr. Reply carries the write end of stdin, or the pty
  kFrameCloseStdin,  // s id
  kFrameReopenLog,   // s id
  kFrameForget,      // s id
  kFrameShutdown,    // ends the shim; refused while a container runs
  // From the shim.
  kFrameReply =
      64,           // i errno (0: done), u step, u value, s detail, U of a start: its time in ns (older shims: missing)
  kFrameContainer,  // s id, u state, u code, u signal, U started ns, U finished ns, u flags; descriptor: pidfd when
                    // running
  kFrameExited,     // the same: a container has ended and its output was logged
  kFrameExecExited,  // u exec number, u code, u signal
};

struct FrameHeader {
  uint16_t type;
  uint16_t version;
  uint32_t sequence;
};

enum StartFlags : uint32_t { kStartStdin = 1, kStartStdinOnce = 2 };
enum ContainerState : uint32_t { kStateStarting = 0, kStateRunning = 1, kStateExited = 2 };

// Where a launch failed: sent with errno, put into words by the daemon.
enum Step : uint32_t {
  kStepNone = 0,
  kStepBadPlan = 100,
  kStepLog,
  kStepCgroup,
  kStepPipes,
  kStepClone,
  kStepJoin,
  kStepNoSuchContainer,
  kStepExists,
  kStepLimit,
  kStepOp = 200,  // 200 + the op that failed
};

}  // namespace brume::shim
