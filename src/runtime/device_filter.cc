#include "device_filter.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <vector>

#include "brume/base/json.h"
#include "brume/linux/fd.h"

namespace brume::runtime {
namespace {

// Registers as bpf_cgroup_dev_ctx gives them: access_type = access << 16 | type, major, minor.
constexpr std::uint8_t kType = BPF_REG_2, kAccess = BPF_REG_3, kMajor = BPF_REG_4, kMinor = BPF_REG_5,
                       kScratch = BPF_REG_1;

bpf_insn make(int code, int to, int from, int offset, std::int32_t value) {
  bpf_insn out{};
  out.code = static_cast<std::uint8_t>(code);
  out.dst_reg = static_cast<std::uint8_t>(to & 0xf);
  out.src_reg = static_cast<std::uint8_t>(from & 0xf);
  out.off = static_cast<std::int16_t>(offset);
  out.imm = value;
  return out;
}
bpf_insn load(int to, int offset) { return make(BPF_LDX | BPF_MEM | BPF_W, to, BPF_REG_1, offset, 0); }
bpf_insn set(int to, std::int32_t value) { return make(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value); }
bpf_insn leave() { return make(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

struct Rule {
  bool allow = false;
  int type = 0;    // BPF_DEVCG_DEV_*; 0: any
  int access = 0;  // BPF_DEVCG_ACC_*
  std::optional<std::int32_t> major;
  std::optional<std::int32_t> minor;
};

Result<Rule> parse_rule(const Json& item, std::size_t index) {
  const std::string where = "linux.resources.devices[" + std::to_string(index) + "]";
  Rule rule;
  rule.allow = flag(item, "allow");
  std::string_view type = str(item, "type");
  if (type == "c") {
    rule.type = BPF_DEVCG_DEV_CHAR;
  } else if (type == "b") {
    rule.type = BPF_DEVCG_DEV_BLOCK;
  } else if (!type.empty() && type != "a") {
    return fail(Code::kInvalid, where + ".type: invalid");
  }
  std::string_view access = str(item, "access");
  for (char c : access.empty() ? std::string_view("rwm") : access) {
    if (c != 'r' && c != 'w' && c != 'm') return fail(Code::kInvalid, where + ".access: invalid");
    rule.access |= c == 'r' ? BPF_DEVCG_ACC_READ : c == 'w' ? BPF_DEVCG_ACC_WRITE : BPF_DEVCG_ACC_MKNOD;
  }
  if (num(item, "major", -1) >= 0) rule.major = static_cast<std::int32_t>(num(item, "major"));
  if (num(item, "minor", -1) >= 0) rule.minor = static_cast<std::int32_t>(num(item, "minor"));
  return rule;
}

void emit_rule(std::vector<bpf_insn>& out, const Rule& rule) {
  std::vector<bpf_insn> tests;  // each jumps over the rest of the rule when it does not hold
  constexpr int kAll = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE | BPF_DEVCG_ACC_MKNOD;
  if (rule.type != 0) tests.push_back(make(BPF_JMP | BPF_JNE | BPF_K, kType, 0, 0, rule.type));
  if (rule.access != kAll) {
    tests.push_back(make(BPF_ALU64 | BPF_MOV | BPF_X, kScratch, kAccess, 0, 0));
    if (rule.allow) {  // all that is asked must be allowed
      tests.push_back(make(BPF_ALU64 | BPF_AND | BPF_K, kScratch, 0, 0, rule.access));
      tests.push_back(make(BPF_JMP | BPF_JNE | BPF_X, kScratch, kAccess, 0, 0));
    } else {  // any of it that is denied refuses the whole
      tests.push_back(make(BPF_ALU64 | BPF_AND | BPF_K, kScratch, 0, 0, rule.access));
      tests.push_back(make(BPF_JMP | BPF_JEQ | BPF_K, kScratch, 0, 0, 0));
    }
  }
  if (rule.major) tests.push_back(make(BPF_JMP | BPF_JNE | BPF_K, kMajor, 0, 0, *rule.major));
  if (rule.minor) tests.push_back(make(BPF_JMP | BPF_JNE | BPF_K, kMinor, 0, 0, *rule.minor));
  for (std::size_t i = 0; i < tests.size(); ++i) {
    if ((tests[i].code & 0x07) == BPF_JMP) tests[i].off = static_cast<std::int16_t>(tests.size() - i - 1 + 2);
  }
  out.insert(out.end(), tests.begin(), tests.end());
  out.push_back(set(BPF_REG_0, rule.allow ? 1 : 0));
  out.push_back(leave());
}

Result<linux_os::Fd> load_program(const std::vector<bpf_insn>& program) {
  static const char kLicence[] = "Apache-2.0";
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attributes.insns = reinterpret_cast<std::uint64_t>(program.data());
  attributes.insn_cnt = static_cast<std::uint32_t>(program.size());
  attributes.license = reinterpret_cast<std::uint64_t>(kLicence);
  linux_os::Fd fd(static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes)));
  if (!fd.valid()) return fail_errno(errno, "load device filter");
  return fd;
}

}  // namespace

Status attach_device_filter(const std::string& cgroup, const Json& devices) {
  std::vector<Rule> rules;
  for (const Json& item : devices) {
    BRUME_TRY(Rule rule, parse_rule(item, rules.size()));
    rules.push_back(rule);
  }
  std::vector<bpf_insn> program = {
      load(kType, 0),
      make(BPF_ALU64 | BPF_MOV | BPF_X, kAccess, kType, 0, 0),
      make(BPF_ALU64 | BPF_AND | BPF_K, kType, 0, 0, 0xffff),
      make(BPF_ALU64 | BPF_RSH | BPF_K, kAccess, 0, 0, 16),
      load(kMajor, 4),
      load(kMinor, 8),
  };
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {  // the last rule of the list counts first
    emit_rule(program, *rule);
    bool everything = rule->type == 0 && rule->access == 7 && !rule->major && !rule->minor;
    if (everything) break;  // what follows can never be reached, and the kernel's verifier refuses dead code
  }
  bool ends = !rules.empty() && rules.front().type == 0 && rules.front().access == 7 && !rules.front().major &&
              !rules.front().minor;
  if (!ends) {
    program.push_back(set(BPF_REG_0, 0));
    program.push_back(leave());
  }
  BRUME_TRY(linux_os::Fd loaded, load_program(program));
  BRUME_TRY(linux_os::Fd directory, linux_os::open_fd(cgroup, O_RDONLY | O_DIRECTORY));
  bpf_attr attributes{};
  attributes.target_fd = static_cast<std::uint32_t>(directory.get());
  attributes.attach_bpf_fd = static_cast<std::uint32_t>(loaded.get());
  attributes.attach_type = BPF_CGROUP_DEVICE;
  attributes.attach_flags = BPF_F_ALLOW_MULTI;
  if (::syscall(SYS_bpf, BPF_PROG_ATTACH, &attributes, sizeof attributes) != 0) {
    return fail_errno(errno, "attach device filter");
  }
  return {};
}

Status probe_device_filter() {
  BRUME_TRY(linux_os::Fd loaded, load_program({set(BPF_REG_0, 1), leave()}));
  return {};
}

}  // namespace brume::runtime
