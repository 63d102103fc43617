#include "compiler.h"

#include <linux/sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>

#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "brume/linux/process.h"
#include "brume/runtime/defaults.h"
#include "mount_options.h"
#include "plan_writer.h"
#include "seccomp_compiler.h"

namespace brume::runtime {
namespace {

constexpr std::uint32_t kMsPrivate = 1U << 18, kMsSlave = 1U << 19, kMsShared = 1U << 20;

std::unexpected<Error> refuse(std::string field, std::string_view why = "not supported") {
  return fail(Code::kInvalid, std::move(field) + ": " + std::string(why));
}

bool is_set(const Json& value) {
  return !value.is_null() && !(value.is_string() && str(value).empty()) &&
         !((value.is_array() || value.is_object()) && value.empty());
}

// Fields of another name are refused, so that nothing asked for is silently left out.
Status check_fields(const Json& object, const std::string& where, std::initializer_list<std::string_view> known) {
  if (object.is_null()) return {};
  if (!object.is_object()) return refuse(where, "must be an object");
  for (const auto& [key, value] : object.items()) {
    if (is_set(value) && std::ranges::find(known, key) == known.end())
      return refuse(where.empty() ? key : where + "." + key);
  }
  return {};
}

Result<std::string> text_field(const Json& value, const std::string& where) {
  if (!value.is_string()) return refuse(where, "must be a string");
  std::string out = value.get<std::string>();
  if (out.find('\0') != std::string::npos) return refuse(where, "contains a NUL");
  return out;
}

Result<std::vector<std::string>> text_list(const Json& value, const std::string& where) {
  std::vector<std::string> out;
  if (value.is_null()) return out;
  if (!value.is_array()) return refuse(where, "must be a list");
  for (const Json& item : value) {
    BRUME_TRY(std::string text, text_field(item, where + "[" + std::to_string(out.size()) + "]"));
    out.push_back(std::move(text));
  }
  return out;
}

// An absolute path without "." and empty parts; ".." is refused.
Result<std::string> clean_path(std::string_view path, const std::string& where) {
  if (path.empty() || path[0] != '/') return refuse(where, "must be an absolute path");
  if (path.size() > 4000 || path.find('\0') != path.npos) return refuse(where, "is too long or contains a NUL");
  std::string out;
  for (std::string_view part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return refuse(where, "must not contain ..");
    out.append("/").append(part);
  }
  return out.empty() ? "/" : out;
}

bool lies_under(std::string_view path, std::string_view directory) {
  return path == directory ||
         (path.starts_with(directory) && path.size() > directory.size() && path[directory.size()] == '/');
}

std::uint32_t id_field(const Json& object, const char* key) {
  const Json& value = at(object, key);
  return value.is_number_integer() && value.get<std::int64_t>() >= 0 && value.get<std::int64_t>() <= 0xfffffffeLL
             ? static_cast<std::uint32_t>(value.get<std::int64_t>())
             : 0;
}

// ---- process -------------------------------------------------------------------------------------------------------

struct Limit {
  std::string_view name;
  std::uint32_t number;
};
constexpr Limit kLimits[] = {
    {"RLIMIT_AS", RLIMIT_AS},           {"RLIMIT_CORE", RLIMIT_CORE},         {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA},       {"RLIMIT_FSIZE", RLIMIT_FSIZE},       {"RLIMIT_LOCKS", 10},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK}, {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE}, {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE},   {"RLIMIT_NPROC", RLIMIT_NPROC},       {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},   {"RLIMIT_RTTIME", RLIMIT_RTTIME},     {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_STACK", RLIMIT_STACK},
};

std::uint64_t limit_value(const Json& value) {
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  return value.is_number_integer() ? static_cast<std::uint64_t>(value.get<std::int64_t>()) : 0;
}

Status add_rlimits(PlanWriter& plan, const Json& process) {
  for (const Json& item : at(process, "rlimits")) {
    auto found = std::ranges::find(kLimits, str(item, "type"), &Limit::name);
    if (found == std::end(kLimits)) return refuse("process.rlimits", std::string(str(item, "type")) + " is unknown");
    std::uint64_t soft = limit_value(at(item, "soft"));
    std::uint64_t hard = limit_value(at(item, "hard"));
    if (soft > hard) return refuse("process.rlimits", "the soft limit is above the hard one");
    plan.add(shim::kOpRlimit, FieldWriter().u32(found->number).u64(soft).u64(hard));
  }
  return {};
}

Result<std::uint64_t> capability_set(const Json& capabilities, const char* key) {
  std::uint64_t out = 0;
  for (const Json& item : at(capabilities, key)) {
    auto number = linux_os::capability_number(str(item));
    if (!number) return refuse(std::string("process.capabilities.") + key, std::string(str(item)) + " is unknown");
    if (*number <= linux_os::last_capability()) out |= 1ULL << *number;  // an older kernel has nothing to give
  }
  return out;
}

Status add_credentials(PlanWriter& plan, const Json& process, const Json& seccomp) {
  const Json& user = at(process, "user");
  BRUME_CHECK(check_fields(user, "process.user", {"uid", "gid", "umask", "additionalGids"}));
  std::vector<std::uint32_t> groups;
  for (const Json& item : at(user, "additionalGids")) {
    if (!item.is_number_integer() || item.get<std::int64_t>() < 0)
      return refuse("process.user.additionalGids", "invalid");
    groups.push_back(static_cast<std::uint32_t>(item.get<std::int64_t>()));
  }
  Json capabilities = at(process, "capabilities");
  if (capabilities.is_null()) {
    Json list = default_capabilities();
    capabilities = {{"bounding", list}, {"effective", list}, {"permitted", list}};
  }
  BRUME_TRY(std::uint64_t bounding, capability_set(capabilities, "bounding"));
  BRUME_TRY(std::uint64_t effective, capability_set(capabilities, "effective"));
  BRUME_TRY(std::uint64_t permitted, capability_set(capabilities, "permitted"));
  BRUME_TRY(std::uint64_t ambient, capability_set(capabilities, "ambient"));
  BRUME_TRY(SeccompFilter filter, compile_seccomp(seccomp));
  FieldWriter fields;
  fields.u32(id_field(user, "uid")).u32(id_field(user, "gid"));
  fields.u32(static_cast<std::uint32_t>(num(user, "umask", 0022)) & 0777U).numbers(groups);
  fields.u64(bounding).u64(effective & permitted).u64(permitted).u64(ambient & permitted);
  fields.u32(flag(process, "noNewPrivileges") ? 1 : 0);
  fields.u32(filter.instructions.empty() ? 0 : 1).u32(filter.flags).bytes(filter.instructions);
  plan.add(shim::kOpCredentials, fields);
  return {};
}

Status add_exec(PlanWriter& plan, const Json& process) {
  BRUME_TRY(auto argv, text_list(at(process, "args"), "process.args"));
  BRUME_TRY(auto env, text_list(at(process, "env"), "process.env"));
  if (argv.empty() || argv[0].empty()) return refuse("process.args", "names no program");
  plan.add(shim::kOpExec, FieldWriter().str(argv[0]).strings(argv).strings(env));
  return {};
}

Status check_process(const Json& process) {
  if (!process.is_object()) return refuse("process", "is missing");
  BRUME_CHECK(check_fields(process, "process",
                           {"args", "env", "cwd", "user", "capabilities", "rlimits", "noNewPrivileges", "oomScoreAdj",
                            "terminal", "consoleSize", "apparmorProfile"}));
  std::string_view profile = str(process, "apparmorProfile");
  if (!profile.empty() && profile != "unconfined") return refuse("process.apparmorProfile");
  return {};
}

Status add_oom_score(PlanWriter& plan, const Json& process, const PlanContext& context) {
  std::int64_t score = num(process, "oomScoreAdj", 0);
  if (score < -1000 || score > 1000) return refuse("process.oomScoreAdj", "must lie between -1000 and 1000");
  // Where lowering is withheld from us (a limitation that is told), the nearest that the kernel gives is kept.
  plan.add(shim::kOpOomScore,
           FieldWriter().u32(static_cast<std::uint32_t>(score)).u32(context.oom_score_permitted ? 1 : 0));
  return {};
}

void add_terminal(PlanWriter& plan, const Json& process, bool console) {
  const Json& size = at(process, "consoleSize");
  plan.add(shim::kOpTerminal, FieldWriter()
                                  .u32(console ? 1 : 0)
                                  .u32(static_cast<std::uint32_t>(num(size, "width", 0)) & 0xffff)
                                  .u32(static_cast<std::uint32_t>(num(size, "height", 0)) & 0xffff));
}

// The steps that a container's first process and an exec'd one have in common, last of the plan.
Status add_process(PlanWriter& plan, const Json& process, const Json& seccomp) {
  BRUME_CHECK(add_rlimits(plan, process));
  BRUME_TRY(std::string cwd, clean_path(str(process, "cwd").empty() ? "/" : str(process, "cwd"), "process.cwd"));
  plan.add(shim::kOpDirectory, FieldWriter().str(cwd));
  BRUME_CHECK(add_credentials(plan, process, seccomp));
  return add_exec(plan, process);
}

// ---- namespaces ----------------------------------------------------------------------------------------------------

struct Namespaces {
  std::uint64_t clone = CLONE_NEWNS;
  bool cgroup = false;
};

// In a pod a namespace without a path is the pod's own; the mount namespace is always the container's, and so is the
// PID namespace unless the pod shares one.
Result<Namespaces> add_namespaces(PlanWriter& plan, const Json& linux_part, const PlanContext& context) {
  Namespaces out;
  const Json& list = at(linux_part, "namespaces");
  out.cgroup = list.is_null();
  for (const Json& item : list) {
    std::string_view type = str(item, "type");
    std::string path(str(item, "path"));
    const std::string where = "linux.namespaces." + std::string(type);
    if (type == "mount" || type == "cgroup" || type == "pid") {
      if (!path.empty()) return refuse(where + ".path");
      if (type == "cgroup") out.cgroup = true;
    } else if (type == "network" || type == "ipc" || type == "uts") {
      std::uint32_t kind = type == "network" ? CLONE_NEWNET : type == "ipc" ? CLONE_NEWIPC : CLONE_NEWUTS;
      if (!path.empty()) plan.add(shim::kOpJoinNamespace, FieldWriter().str(path).u32(kind));
    } else {
      return refuse(where);
    }
  }
  if (!context.host_pid && !context.share_pid) out.clone |= CLONE_NEWPID;
  if (out.cgroup) plan.add(shim::kOpUnshare, FieldWriter().u32(CLONE_NEWCGROUP));
  return out;
}

// ---- root and mounts -----------------------------------------------------------------------------------------------

struct MountPlan {
  std::string destination;
  std::string type;
  std::string source;
  MountOptions options;
  bool bind = false;
  std::uint32_t slot = 0;
};

Result<std::vector<MountPlan>> collect_mounts(const Json& oci) {
  Json all = Json::array();
  const Json& given = at(oci, "mounts");
  for (const Json& standard : default_mounts()) {  // what the spec does not mount itself
    bool covered = false;
    for (const Json& mount : given) {
      std::string destination(str(mount, "destination"));
      while (destination.size() > 1 && destination.back() == '/') destination.pop_back();
      covered = covered || lies_under(str(standard, "destination"), destination);
    }
    if (!covered && !flag(at(oci, "annotations"), "brume.exact-mounts")) all.push_back(standard);
  }
  for (const Json& mount : given) all.push_back(mount);
  std::vector<MountPlan> out;
  std::uint32_t slots = 0;
  for (const Json& item : all) {
    const std::string where = "mounts[" + std::string(str(item, "destination")) + "]";
    BRUME_CHECK(check_fields(item, where, {"destination", "type", "source", "options"}));
    MountPlan mount;
    BRUME_TRY(mount.destination, clean_path(str(item, "destination"), where + ".destination"));
    if (mount.destination == "/") return refuse(where + ".destination", "cannot be the root");
    BRUME_TRY(mount.options, parse_mount_options(at(item, "options"), where));
    mount.type = str(item, "type");
    mount.source = str(item, "source");
    mount.bind = mount.options.bind || mount.type == "bind";
    if (mount.bind) {
      if (!mount.options.data.empty())
        return refuse(where + ".options", mount.options.data[0] + " is not for bind mounts");
      BRUME_TRY(mount.source, clean_path(mount.source, where + ".source"));
      if (slots + 1 >= shim::kMaxSources) return refuse("mounts", "too many bind mounts");
      mount.slot = slots++;
    } else if (mount.type.empty()) {
      return refuse(where + ".type", "is missing");
    } else if (mount.options.set_all != 0 || mount.options.clear_all != 0 || !mount.options.subpath.empty()) {
      return refuse(where + ".options", "recursive attributes and sub-paths are for bind mounts");
    }
    if (mount.type == "cgroup") mount.type = "cgroup2";
    out.push_back(std::move(mount));
  }
  return out;
}

void add_sources(PlanWriter& plan, const std::vector<MountPlan>& mounts) {
  for (const MountPlan& mount : mounts) {
    if (!mount.bind) continue;
    bool recursive = mount.options.recursive_bind || !mount.options.bind;
    plan.add(shim::kOpOpenSource,
             FieldWriter().u32(mount.slot).u32(recursive ? 1 : 0).str(mount.source).str(mount.options.subpath));
  }
}

void add_root(PlanWriter& plan, const ContainerSpec& spec, const PlanContext& context) {
  std::vector<std::string> lowers(spec.layers.rbegin(), spec.layers.rend());
  bool writable = !spec.writable_dir.empty();
  if (!writable && lowers.size() == 1) {
    plan.add(shim::kOpOpenSource, FieldWriter().u32(shim::kMaxSources - 1).u32(1).str(lowers[0]).str(""));
    plan.add(shim::kOpBindRoot, FieldWriter().u32(shim::kMaxSources - 1).str(context.merged_dir));
    return;
  }
  plan.add(shim::kOpOverlayRoot, FieldWriter()
                                     .str(writable ? spec.writable_dir + "/upper" : "")
                                     .str(writable ? spec.writable_dir + "/work" : "")
                                     .str(context.merged_dir)
                                     .strings(lowers));
}

void add_bind(PlanWriter& plan, const MountPlan& mount) {
  const MountOptions& o = mount.options;
  std::uint32_t propagation = o.propagation == 0 ? kMsPrivate : o.propagation == kMsShared ? 0 : o.propagation;
  bool recursive = o.set_all != 0 || o.clear_all != 0;
  plan.add(shim::kOpAttach, FieldWriter()
                                .u32(mount.slot)
                                .str(mount.destination)
                                .u64(o.set | o.set_all)
                                .u64((o.clear | o.clear_all) & ~((o.set | o.set_all) & ~0x70ULL))
                                .u32(recursive ? 1 : 0)
                                .u32(propagation));
}

void add_mount(PlanWriter& plan, const MountPlan& mount, const PlanContext& context) {
  std::uint32_t flags = 0;
  bool kernel_fs = mount.type == "proc" || mount.type == "sysfs" || mount.type == "cgroup2";
  if (kernel_fs || lies_under(mount.destination, "/dev")) flags |= shim::kMountNoSymlinks;
  std::string source = mount.source;
  if (mount.type == "cgroup2") {
    flags |= shim::kMountCgroup;
    source = context.cgroup_path;
  }
  plan.add(shim::kOpMount, FieldWriter()
                               .str(mount.type)
                               .str(source)
                               .str(mount.destination)
                               .strings(mount.options.data)
                               .u32(static_cast<std::uint32_t>(mount.options.set))
                               .u32(mount.options.propagation)
                               .u32(flags));
}

// ---- devices and paths ---------------------------------------------------------------------------------------------

struct StandardDevice {
  const char* path;
  std::uint32_t major;
  std::uint32_t minor;
};
constexpr StandardDevice kDevices[] = {{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
                                       {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};
constexpr std::pair<const char*, const char*> kLinks[] = {{"/proc/self/fd", "/dev/fd"},
                                                          {"/proc/self/fd/0", "/dev/stdin"},
                                                          {"/proc/self/fd/1", "/dev/stdout"},
                                                          {"/proc/self/fd/2", "/dev/stderr"},
                                                          {"pts/ptmx", "/dev/ptmx"}};

Status add_device(PlanWriter& plan, const Json& item, std::size_t index) {
  const std::string where = "linux.devices[" + std::to_string(index) + "]";
  BRUME_TRY(std::string path, clean_path(str(item, "path"), where + ".path"));
  std::string_view type = str(item, "type");
  std::uint32_t kind = type == "c" || type == "u" ? S_IFCHR : type == "b" ? S_IFBLK : type == "p" ? S_IFIFO : 0;
  if (kind == 0) return refuse(where + ".type", "must be c, b, u or p");
  FieldWriter fields;
  fields.str(path).u32(kind | (static_cast<std::uint32_t>(num(item, "fileMode", 0666)) & 07777U));
  fields.u32(static_cast<std::uint32_t>(num(item, "major"))).u32(static_cast<std::uint32_t>(num(item, "minor")));
  fields.u32(id_field(item, "uid")).u32(id_field(item, "gid"));
  plan.add(shim::kOpDevice, fields);
  return {};
}

Status add_devices(PlanWriter& plan, const Json& linux_part, const std::vector<MountPlan>& mounts) {
  // A /dev that is bound from the node is the node's business.
  bool own_dev = std::ranges::none_of(mounts, [](const MountPlan& m) { return m.bind && m.destination == "/dev"; });
  const Json& devices = at(linux_part, "devices");
  auto listed = [&](std::string_view path) {
    return std::ranges::any_of(devices, [&](const Json& item) { return str(item, "path") == path; });
  };
  auto mounted = [&](std::string_view path) {
    return std::ranges::any_of(mounts, [&](const MountPlan& m) { return m.destination == path; });
  };
  if (own_dev) {
    for (const StandardDevice& device : kDevices) {
      if (listed(device.path) || mounted(device.path)) continue;
      plan.add(shim::kOpDevice,
               FieldWriter().str(device.path).u32(S_IFCHR | 0666U).u32(device.major).u32(device.minor).u32(0).u32(0));
    }
  }
  std::size_t index = 0;
  for (const Json& item : devices) BRUME_CHECK(add_device(plan, item, index++));
  if (own_dev) {
    for (const auto& [content, path] : kLinks) plan.add(shim::kOpSymlink, FieldWriter().str(content).str(path));
  }
  return {};
}

Status add_path_rules(PlanWriter& plan, const Json& linux_part) {
  for (const auto& [key, op] :
       {std::pair{"readonlyPaths", shim::kOpReadonly}, std::pair{"maskedPaths", shim::kOpMask}}) {
    BRUME_TRY(auto paths, text_list(at(linux_part, key), std::string("linux.") + key));
    for (const std::string& path : paths) {
      BRUME_TRY(std::string clean, clean_path(path, std::string("linux.") + key));
      plan.add(op, FieldWriter().str(clean));
    }
  }
  return {};
}

Status add_sysctls(PlanWriter& plan, const Json& linux_part, const PlanContext& context) {
  for (const auto& [key, value] : at(linux_part, "sysctl").items()) {
    const std::string where = "linux.sysctl." + key;
    // Only those that belong to a namespace of the pod; others would change the node (OCI, namespaced kernel
    // parameters).
    bool network = key.starts_with("net.");
    bool ipc = key.starts_with("kernel.shm") || key.starts_with("kernel.msg") || key == "kernel.sem" ||
               key.starts_with("fs.mqueue.");
    if (!network && !ipc) return refuse(where, "is not a sysctl of a namespace");
    if (network && context.host_network) return refuse(where, "the pod uses the node's network");
    std::string path = key;
    std::ranges::replace(path, '.', '/');
    if (path.find("..") != std::string::npos || path.find("//") != std::string::npos) return refuse(where, "invalid");
    BRUME_TRY(std::string text, text_field(value, where));
    plan.add(shim::kOpSysctl, FieldWriter().str(path).str(text));
  }
  return {};
}

Result<std::uint32_t> root_propagation(const Json& linux_part) {
  std::string_view name = str(linux_part, "rootfsPropagation");
  if (name.empty() || name == "rslave" || name == "slave") return kMsSlave;
  if (name == "private" || name == "rprivate") return kMsPrivate;
  if (name == "shared" || name == "rshared") return kMsShared;
  return refuse("linux.rootfsPropagation");
}

Status check_spec(const ContainerSpec& spec, const PlanContext& context) {
  const Json& oci = spec.oci;
  BRUME_CHECK(check_fields(
      oci, "", {"ociVersion", "process", "root", "hostname", "domainname", "mounts", "annotations", "linux"}));
  BRUME_CHECK(check_fields(at(oci, "root"), "root", {"path", "readonly"}));
  BRUME_CHECK(check_fields(at(oci, "linux"), "linux",
                           {"namespaces", "maskedPaths", "readonlyPaths", "devices", "seccomp", "sysctl", "resources",
                            "cgroupsPath", "rootfsPropagation"}));
  if (!str(oci, "domainname").empty()) return refuse("domainname");
  if (auto name = str(oci, "hostname"); !name.empty() && !context.hostname.empty() && name != context.hostname) {
    return refuse("hostname", "is the pod's, " + context.hostname);
  }
  if (spec.layers.empty()) return refuse("layers", "names no directory");
  if (flag(at(oci, "process"), "terminal") != spec.tty)
    return refuse("process.terminal", "disagrees with the container's tty");
  return check_process(at(oci, "process"));
}

}  // namespace

Result<std::string> compile_container(const ContainerSpec& spec, const PlanContext& context) {
  BRUME_CHECK(check_spec(spec, context));
  const Json& oci = spec.oci;
  const Json& process = at(oci, "process");
  const Json& linux_part = at(oci, "linux");
  PlanWriter plan;
  BRUME_CHECK(add_oom_score(plan, process, context));
  BRUME_TRY(Namespaces namespaces, add_namespaces(plan, linux_part, context));
  BRUME_TRY(auto mounts, collect_mounts(oci));
  add_sources(plan, mounts);
  BRUME_TRY(std::uint32_t propagation, root_propagation(linux_part));
  // The copied mount table hears of the node's unmounts but never the other way round.
  plan.add(shim::kOpPropagation, FieldWriter().u32(propagation == kMsPrivate ? kMsPrivate : kMsSlave));
  add_root(plan, spec, context);
  for (const MountPlan& mount : mounts) mount.bind ? add_bind(plan, mount) : add_mount(plan, mount, context);
  BRUME_CHECK(add_devices(plan, linux_part, mounts));
  BRUME_TRY(std::string cwd, clean_path(str(process, "cwd").empty() ? "/" : str(process, "cwd"), "process.cwd"));
  if (cwd != "/") plan.add(shim::kOpMakeDirectory, FieldWriter().str(cwd));
  BRUME_CHECK(add_path_rules(plan, linux_part));
  if (spec.tty) add_terminal(plan, process, true);
  if (spec.readonly_root || flag(at(oci, "root"), "readonly")) plan.add(shim::kOpReadonlyRoot);
  plan.add(shim::kOpPivot, FieldWriter().u32(propagation == kMsShared ? kMsShared : 0));
  BRUME_CHECK(add_sysctls(plan, linux_part, context));
  BRUME_CHECK(add_process(plan, process, at(linux_part, "seccomp")));
  return plan.finish(spec.tty ? shim::kPlanTerminal : 0, namespaces.clone);
}

Result<std::string> compile_exec(const Json& oci, const ExecSpec& exec, const PlanContext& context) {
  Json process = at(oci, "process");
  process["args"] = exec.argv;
  Json env = at(process, "env").is_array() ? at(process, "env") : Json::array();
  for (const std::string& entry : exec.env) {  // the last of one name wins in most programs, not in all: replace
    std::string name = entry.substr(0, entry.find('=') + 1);
    std::erase_if(env.get_ref<Json::array_t&>(), [&](const Json& old) { return str(old).starts_with(name); });
    env.push_back(entry);
  }
  process["env"] = std::move(env);
  PlanWriter plan;
  BRUME_CHECK(add_oom_score(plan, process, context));
  if (exec.tty) add_terminal(plan, process, false);
  BRUME_CHECK(add_process(plan, process, at(oci, "linux", "seccomp")));
  return plan.finish(shim::kPlanExec | (exec.tty ? shim::kPlanTerminal : 0), 0);
}

}  // namespace brume::runtime
