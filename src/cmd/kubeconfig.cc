#include "cmd/kubeconfig.h"

#include <cstdio>
#include <cstdlib>

#include "brume/api/decode.h"
#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "brume/linux/fd.h"
#include "cmd/commands.h"

namespace brume::cmd {

namespace {

constexpr std::string_view kDefaultPath = "/etc/brume/brume.yaml";

// The member `kind` of the entry called `name` in list `kinds`; null when there is none.
const Json& named(const Json& config, std::string_view kinds, std::string_view kind, std::string_view name) {
  static const Json kNone;
  const Json& list = at(config, kinds);
  if (!list.is_array()) return kNone;
  for (const auto& entry : list) {
    if (str(entry, "name") == name) return at(entry, kind);
  }
  return kNone;
}

// Data given in place (base64), or by the file that it names.
Result<std::string> data_or_file(const Json& object, std::string_view key) {
  if (const auto data = str(object, std::string(key) + "-data"); !data.empty()) {
    auto decoded = base64_decode(data);
    if (!decoded) return fail(Code::kBadRequest, std::string(key) + "-data is not base64");
    return std::move(*decoded);
  }
  if (const auto file = str(object, key); !file.empty()) return linux_os::read_file(std::string(file));
  return std::string();
}

std::string path_or_default(std::string path) {
  if (!path.empty()) return path;
  const char* env = std::getenv("KUBECONFIG");
  return env != nullptr && *env != 0 ? env : std::string(kDefaultPath);
}

}  // namespace

Result<Cluster> read_kubeconfig(std::string path) {
  path = path_or_default(std::move(path));
  auto text = linux_os::read_file(path);
  if (!text) return fail(wrap(text.error(), "no kubeconfig (is the server running? give --kubeconfig)"));
  auto decoded = api::decode(*text, api::MediaType::kYaml);
  if (!decoded) return fail(wrap(decoded.error(), path));
  const Json& config = decoded->value;
  const Json& context = named(config, "contexts", "context", str(config, "current-context"));
  const Json& cluster = named(config, "clusters", "cluster", str(context, "cluster"));
  const Json& user = named(config, "users", "user", str(context, "user"));
  Cluster out;
  out.server = str(cluster, "server");
  if (out.server.empty()) return fail(Code::kBadRequest, path + " names no server");
  out.token = str(user, "token");
  BRUME_TRY(out.tls.ca_pem, data_or_file(cluster, "certificate-authority"));
  BRUME_TRY(out.tls.certificate_pem, data_or_file(user, "client-certificate"));
  BRUME_TRY(out.tls.private_key_pem, data_or_file(user, "client-key"));
  out.tls.insecure = flag(cluster, "insecure-skip-tls-verify");
  return out;
}

int run_kubeconfig(const std::vector<std::string>& arguments) {
  if (wants_help(arguments)) {
    std::puts("brume kubeconfig [FILE]: prints the admin kubeconfig that the server wrote (/etc/brume/brume.yaml).");
    return 0;
  }
  if (arguments.size() > 1) return report({Code::kInvalid, "kubeconfig takes one file at most"});
  const auto text = linux_os::read_file(path_or_default(arguments.empty() ? "" : arguments.front()));
  if (!text) return report(wrap(text.error(), "no kubeconfig (is the server running?)"));
  std::fputs(text->c_str(), stdout);
  return 0;
}

}  // namespace brume::cmd
