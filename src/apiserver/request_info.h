// What a request's method and path ask for, as Kubernetes' RequestInfo reads them.
#pragma once

#include <string>

#include "brume/http/message.h"

namespace brume::apiserver {

struct RequestInfo {
  bool is_resource = false;
  std::string path;
  std::string verb;  ///< get, list, watch, create, ...; of other paths the lower-case method
  std::string group, version, ns, resource, subresource, name;
  std::string rest;  ///< the path after the sub-resource, without leading slash (proxies)
  bool bad = false;  ///< a path that names no resource where one must be
};

[[nodiscard]] RequestInfo request_info(const http::Request& request);

}  // namespace brume::apiserver
