#include "cmd/registries.h"

#include <unistd.h>

#include "brume/api/decode.h"
#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "brume/http/client.h"
#include "brume/linux/fd.h"

namespace brume::cmd {

namespace {

using runtime::Registries;
using runtime::RegistryHost;
using runtime::RegistryMirror;

std::unexpected<Error> bad(const std::string& where, const std::string& what) {
  return fail(Code::kInvalid, where + ": " + what);
}

// Calls `take` with each entry of a mapping; null is an empty one.
template <class Take>
Status each(const Json& value, const std::string& where, const Take& take) {
  if (value.is_null()) return {};
  if (!value.is_object()) return bad(where, "is not a mapping");
  for (const auto& [key, entry] : value.items()) BRUME_CHECK(take(key, entry));
  return {};
}

Result<std::string> text_of(const Json& value, const std::string& where) {
  if (!value.is_string()) return bad(where, "is not a string");
  return value.get<std::string>();
}

Result<std::string> contents(const Json& value, const std::string& where) {
  BRUME_TRY(const auto path, text_of(value, where));
  auto text = linux_os::read_file(path);
  if (!text) return fail(wrap(text.error(), where));
  if (text->empty()) return bad(where, path + " is empty");
  return text;
}

// The root of a registry's API. Without a path of its own that is /v2; any other path stands as it is.
Result<std::string> endpoint_of(const Json& value, const std::string& where) {
  BRUME_TRY(auto url, text_of(value, where));
  const auto from = url.find("://");
  const auto scheme = url.substr(0, from);
  if (from == std::string::npos || (scheme != "http" && scheme != "https")) {
    return bad(where, "\"" + url + "\" is not a URL such as https://mirror.example:5000");
  }
  while (url.ends_with('/') && url.size() > from + 3) url.pop_back();
  if (url.size() <= from + 3 || url[from + 3] == '/') return bad(where, "the URL names no host");
  if (url.find_first_of("?#@ ") != std::string::npos) return bad(where, "\"" + url + "\" is not a plain URL");
  if (url.find('/', from + 3) == std::string::npos) url += "/v2";
  return url;
}

Result<RegistryMirror> mirror_of(const Json& value, const std::string& where) {
  RegistryMirror mirror;
  const auto read = [&](const std::string& key, const Json& entry) -> Status {
    const std::string here = where + "." + key;
    if (key == "endpoint") {
      for (const Json& one : entry.is_array() ? entry : Json::array({entry})) {
        BRUME_TRY(auto url, endpoint_of(one, here));
        mirror.endpoints.push_back(std::move(url));
      }
      return {};
    }
    if (key != "rewrite") return bad(here, "unknown; there is: endpoint, rewrite");
    return each(entry, here, [&](const std::string& pattern, const Json& replacement) -> Status {
      BRUME_TRY(auto text, text_of(replacement, here));
      mirror.rewrites.emplace_back(pattern, std::move(text));
      return {};
    });
  };
  BRUME_CHECK(each(value, where, read));
  if (auto tried = rewrite_repository(mirror, "library/image"); !tried) {
    return fail(wrap(tried.error(), where + ".rewrite"));
  }
  return mirror;
}

Result<runtime::RegistryAuth> auth_of(const Json& value, const std::string& where) {
  runtime::RegistryAuth auth;
  const auto read = [&](const std::string& key, const Json& entry) -> Status {
    const std::string here = where + "." + key;
    BRUME_TRY(auto text, text_of(entry, here));
    if (key == "username") {
      auth.username = std::move(text);
    } else if (key == "password") {
      auth.password = std::move(text);
    } else if (key == "auth") {
      const auto both = base64_decode(text);
      const auto colon = both ? both->find(':') : std::string::npos;
      if (colon == std::string::npos) return bad(here, "is not base64 of user:password");
      auth.username = both->substr(0, colon);
      auth.password = both->substr(colon + 1);
    } else {
      return bad(here, "unknown; there is: username, password, auth");
    }
    return {};
  };
  BRUME_CHECK(each(value, where, read));
  if (auth.username.empty()) return bad(where, "names no user");
  return auth;
}

Status read_tls(const Json& value, const std::string& where, RegistryHost& host) {
  const auto read = [&](const std::string& key, const Json& entry) -> Status {
    const std::string here = where + "." + key;
    if (key == "insecure_skip_verify") {
      if (!entry.is_boolean()) return bad(here, "is not true or false");
      host.insecure_tls = entry.get<bool>();
      return {};
    }
    std::string* out = key == "ca_file"     ? &host.ca_pem
                       : key == "cert_file" ? &host.certificate_pem
                       : key == "key_file"  ? &host.private_key_pem
                                            : nullptr;
    if (out == nullptr) return bad(here, "unknown; there is: ca_file, cert_file, key_file, insecure_skip_verify");
    BRUME_TRY(*out, contents(entry, here));
    return {};
  };
  BRUME_CHECK(each(value, where, read));
  if (host.certificate_pem.empty() != host.private_key_pem.empty()) {
    return bad(where, "cert_file and key_file belong together");
  }
  http::ClientOptions options;
  options.tls = {.ca_pem = host.ca_pem,
                 .system_cas = true,
                 .certificate_pem = host.certificate_pem,
                 .private_key_pem = host.private_key_pem,
                 .server_name = {},
                 .insecure = host.insecure_tls};
  if (auto tried = http::Client::create(std::move(options)); !tried) return fail(wrap(tried.error(), where));
  return {};
}

Result<RegistryHost> host_of(const Json& value, const std::string& where) {
  RegistryHost host;
  const auto read = [&](const std::string& key, const Json& entry) -> Status {
    const std::string here = where + "." + key;
    if (key == "tls") return read_tls(entry, here, host);
    if (key != "auth") return bad(here, "unknown; there is: auth, tls");
    BRUME_TRY(host.auth, auth_of(entry, here));
    return {};
  };
  BRUME_CHECK(each(value, where, read));
  return host;
}

}  // namespace

Result<Registries> load_registries(const std::string& path, bool must_exist) {
  if (!must_exist && ::access(path.c_str(), F_OK) != 0) return Registries();
  const auto text = linux_os::read_file(path);
  if (!text) return fail(must_exist ? wrap(text.error(), "--private-registry") : text.error());
  auto decoded = api::decode(*text, api::MediaType::kYaml);
  if (!decoded) return fail(wrap(decoded.error(), path));
  if (!decoded->duplicate_fields.empty()) return bad(path, decoded->duplicate_fields.front());
  Registries out;
  const auto read = [&](const std::string& key, const Json& value) -> Status {
    const std::string here = path + ": " + key;
    if (key == "mirrors") {
      return each(value, here, [&](const std::string& name, const Json& entry) -> Status {
        BRUME_TRY(out.mirrors[name], mirror_of(entry, here + "[" + name + "]"));
        return {};
      });
    }
    if (key != "configs") return bad(here, "unknown; there is: mirrors, configs");
    return each(value, here, [&](const std::string& name, const Json& entry) -> Status {
      BRUME_TRY(out.hosts[name], host_of(entry, here + "[" + name + "]"));
      // Any host that a pod's image names would be given them.
      if (name == "*" && out.hosts[name].auth) return bad(here + "[*].auth", "credentials are for one host");
      return {};
    });
  };
  BRUME_CHECK(each(decoded->value, path, read));
  return out;
}

}  // namespace brume::cmd
