#include "brume/base/result.h"

#include <cerrno>
#include <cstring>

namespace brume {

namespace {

struct CodeInfo {
  std::string_view reason;
  int http;
};

// metav1.StatusReason and the HTTP code that apimachinery's errors package gives each.
constexpr CodeInfo info(Code code) {
  switch (code) {
    case Code::kBadRequest: return {"BadRequest", 400};
    case Code::kUnauthorized: return {"Unauthorized", 401};
    case Code::kForbidden: return {"Forbidden", 403};
    case Code::kNotFound: return {"NotFound", 404};
    case Code::kAlreadyExists: return {"AlreadyExists", 409};
    case Code::kConflict: return {"Conflict", 409};
    case Code::kGone: return {"Gone", 410};
    case Code::kExpired: return {"Expired", 410};
    case Code::kInvalid: return {"Invalid", 422};
    case Code::kTimeout: return {"Timeout", 504};
    case Code::kServerTimeout: return {"ServerTimeout", 500};
    case Code::kTooManyRequests: return {"TooManyRequests", 429};
    case Code::kMethodNotAllowed: return {"MethodNotAllowed", 405};
    case Code::kNotAcceptable: return {"NotAcceptable", 406};
    case Code::kUnsupportedMediaType: return {"UnsupportedMediaType", 415};
    case Code::kRequestEntityTooLarge: return {"RequestEntityTooLarge", 413};
    case Code::kServiceUnavailable: return {"ServiceUnavailable", 503};
    case Code::kInternal:
    case Code::kIo:
    case Code::kCancelled:
    case Code::kCorrupt: return {"InternalError", 500};
  }
  return {"InternalError", 500};
}

}  // namespace

Error errno_error(int err, std::string_view what) {
  Code code = Code::kIo;
  if (err == ENOENT) code = Code::kNotFound;
  if (err == EACCES || err == EPERM) code = Code::kForbidden;
  if (err == EEXIST) code = Code::kAlreadyExists;
  return {code, std::string(what) + ": " + std::strerror(err)};
}

std::string_view reason_of(Code code) { return info(code).reason; }
int http_status_of(Code code) { return info(code).http; }

}  // namespace brume
