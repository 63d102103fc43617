#include "seccomp_compiler.h"

#include <linux/filter.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "brume/base/json.h"
#include "brume/linux/fd.h"

namespace brume::runtime {
namespace {

constexpr std::size_t kRemembered = 32;

std::optional<std::uint32_t> action_of(std::string_view name, std::int64_t errno_value) {
  auto number = static_cast<std::uint32_t>(errno_value) & 0xffffU;
  if (name == "SCMP_ACT_ALLOW") return SCMP_ACT_ALLOW;
  if (name == "SCMP_ACT_ERRNO") return SCMP_ACT_ERRNO(number);
  if (name == "SCMP_ACT_TRACE") return SCMP_ACT_TRACE(number);
  if (name == "SCMP_ACT_KILL" || name == "SCMP_ACT_KILL_THREAD") return SCMP_ACT_KILL;
  if (name == "SCMP_ACT_KILL_PROCESS") return SCMP_ACT_KILL_PROCESS;
  if (name == "SCMP_ACT_TRAP") return SCMP_ACT_TRAP;
  if (name == "SCMP_ACT_LOG") return SCMP_ACT_LOG;
  return std::nullopt;
}

std::optional<scmp_compare> compare_of(std::string_view name) {
  if (name == "SCMP_CMP_NE") return SCMP_CMP_NE;
  if (name == "SCMP_CMP_LT") return SCMP_CMP_LT;
  if (name == "SCMP_CMP_LE") return SCMP_CMP_LE;
  if (name == "SCMP_CMP_EQ") return SCMP_CMP_EQ;
  if (name == "SCMP_CMP_GE") return SCMP_CMP_GE;
  if (name == "SCMP_CMP_GT") return SCMP_CMP_GT;
  if (name == "SCMP_CMP_MASKED_EQ") return SCMP_CMP_MASKED_EQ;
  return std::nullopt;
}

// SCMP_ARCH_X86_64 and so on; libseccomp's own names are the lower-case rest.
std::optional<std::uint32_t> arch_of(std::string_view name) {
  if (!name.starts_with("SCMP_ARCH_")) return std::nullopt;
  std::string lower(name.substr(10));
  for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  std::uint32_t arch = seccomp_arch_resolve_name(lower.c_str());
  return arch == 0 ? std::nullopt : std::optional(arch);
}

unsigned long long number(const Json& value, std::string_view key) {
  const Json& item = at(value, key);
  return item.is_number_unsigned() ? item.get<unsigned long long>() : static_cast<unsigned long long>(num(value, key));
}

using Context = std::unique_ptr<void, void (*)(void*)>;

Status add_rule(const Context& context, const Json& rule, std::uint32_t default_action, const std::string& where) {
  auto action = action_of(str(rule, "action"), num(rule, "errnoRet", EPERM));
  if (!action)
    return fail(Code::kInvalid, where + ".action: " + std::string(str(rule, "action")) + " is not supported");
  if (*action == default_action) return {};
  std::vector<scmp_arg_cmp> args;
  for (const Json& arg : at(rule, "args")) {
    auto compare = compare_of(str(arg, "op"));
    if (!compare || num(arg, "index") < 0 || num(arg, "index") > 5)
      return fail(Code::kInvalid, where + ".args: invalid");
    args.push_back({static_cast<unsigned>(num(arg, "index")), *compare, number(arg, "value"), number(arg, "valueTwo")});
  }
  for (const Json& name : at(rule, "names")) {
    int nr = seccomp_syscall_resolve_name(std::string(str(name)).c_str());
    if (nr == __NR_SCMP_ERROR) continue;  // of a newer or another kernel: the default action covers it
    int done = seccomp_rule_add_array(context.get(), *action, nr, static_cast<unsigned>(args.size()), args.data());
    if (done == -EINVAL && args.size() > 1) {
      // Two comparisons of one argument are no one rule: either may match, as other runtimes do it.
      done = 0;
      for (const scmp_arg_cmp& arg : args) {
        if (done == 0) done = seccomp_rule_add_array(context.get(), *action, nr, 1, &arg);
      }
    }
    if (done != 0 && done != -EEXIST) return fail_errno(-done, where + ": " + std::string(str(name)));
  }
  return {};
}

Result<std::string> export_filter(const Context& context) {
  linux_os::Fd fd(::memfd_create("seccomp", MFD_CLOEXEC));
  if (!fd.valid()) return fail_errno(errno, "memfd_create");
  if (int done = seccomp_export_bpf(context.get(), fd.get()); done != 0) return fail_errno(-done, "seccomp_export_bpf");
  off_t size = ::lseek(fd.get(), 0, SEEK_END);
  std::string out(static_cast<std::size_t>(size), '\0');
  if (::pread(fd.get(), out.data(), out.size(), 0) != size) return fail(Code::kIo, "read seccomp filter");
  if (out.size() / sizeof(sock_filter) > 4096) return fail(Code::kInvalid, "linux.seccomp: the filter is too long");
  return out;
}

Result<SeccompFilter> compile(const Json& seccomp) {
  for (const char* key : {"listenerPath", "listenerMetadata"}) {
    if (!str(seccomp, key).empty())
      return fail(Code::kInvalid, std::string("linux.seccomp.") + key + ": not supported");
  }
  auto action = action_of(str(seccomp, "defaultAction"), num(seccomp, "defaultErrnoRet", EPERM));
  if (!action) return fail(Code::kInvalid, "linux.seccomp.defaultAction: not supported");
  SeccompFilter filter;
  for (const Json& flag : at(seccomp, "flags")) {
    std::string_view name = str(flag);
    if (name == "SECCOMP_FILTER_FLAG_LOG") {
      filter.flags |= 2;
    } else if (name == "SECCOMP_FILTER_FLAG_SPEC_ALLOW") {
      filter.flags |= 4;
    } else if (name != "SECCOMP_FILTER_FLAG_TSYNC") {  // one thread: nothing to synchronise
      return fail(Code::kInvalid, "linux.seccomp.flags: " + std::string(name) + " is not supported");
    }
  }
  Context context(seccomp_init(*action), seccomp_release);
  if (!context) return fail(Code::kInvalid, "linux.seccomp: libseccomp refuses the default action");
  (void)seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a binary tree in place of a list
  for (const Json& name : at(seccomp, "architectures")) {
    auto arch = arch_of(str(name));
    if (!arch) return fail(Code::kInvalid, "linux.seccomp.architectures: " + std::string(str(name)) + " is unknown");
    int done = seccomp_arch_add(context.get(), *arch);
    if (done != 0 && done != -EEXIST) return fail_errno(-done, "linux.seccomp.architectures");
  }
  std::size_t index = 0;
  for (const Json& rule : at(seccomp, "syscalls")) {
    BRUME_CHECK(add_rule(context, rule, *action, "linux.seccomp.syscalls[" + std::to_string(index++) + "]"));
  }
  BRUME_TRY(filter.instructions, export_filter(context));
  return filter;
}

}  // namespace

Result<SeccompFilter> compile_seccomp(const Json& seccomp) {
  if (seccomp.is_null()) return SeccompFilter{};
  static std::mutex mutex;
  static std::map<std::string, SeccompFilter> remembered;
  std::string key = dump_json(seccomp);
  {
    std::lock_guard lock(mutex);
    if (auto found = remembered.find(key); found != remembered.end()) return found->second;
  }
  BRUME_TRY(SeccompFilter filter, compile(seccomp));
  std::lock_guard lock(mutex);
  if (remembered.size() >= kRemembered) remembered.clear();
  remembered.emplace(std::move(key), filter);
  return filter;
}

}  // namespace brume::runtime
