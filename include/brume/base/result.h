// Result and Error: how every fallible call in brume answers.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace brume {

/// What went wrong, as a class that a caller can act on. The first block mirrors the reasons of a
/// Kubernetes Status (metav1.StatusReason) one to one; the second is local to this machine.
enum class Code : std::uint8_t {
  kBadRequest,
  kUnauthorized,
  kForbidden,
  kNotFound,
  kAlreadyExists,
  kConflict,
  kGone,
  kExpired,
  kInvalid,
  kTimeout,
  kServerTimeout,
  kTooManyRequests,
  kInternal,
  kMethodNotAllowed,
  kNotAcceptable,
  kUnsupportedMediaType,
  kRequestEntityTooLarge,
  kServiceUnavailable,

  kIo,         ///< a system call or a file failed; the message names it with errno's text
  kCancelled,  ///< the task was told to stop
  kCorrupt,    ///< bytes on disk or on the wire are not what their format says
};

/// One field-level cause of an error, as in metav1.StatusCause.
struct Cause {
  std::string reason;  ///< FieldValueInvalid, FieldValueRequired, ...
  std::string message;
  std::string field;  ///< path such as spec.containers[0].image
};

/// An error as a value. `message` is one line for a person: what failed and, where known, how to mend it.
struct Error {
  Code code = Code::kInternal;
  std::string message;
  std::vector<Cause> causes = {};
  int retry_after_seconds = 0;  ///< for kTooManyRequests and kServerTimeout; 0: not said
};

/// A value or an Error. Never ignored, never logged and returned both.
template <typename T>
using Result = std::expected<T, Error>;

using Status = Result<void>;

[[nodiscard]] inline std::unexpected<Error> fail(Code code, std::string message) {
  return std::unexpected(Error{code, std::move(message)});
}
[[nodiscard]] inline std::unexpected<Error> fail(Error error) { return std::unexpected(std::move(error)); }

/// The same error with "context: " put before its message.
[[nodiscard]] inline Error wrap(Error error, std::string_view context) {
  error.message.insert(0, ": ").insert(0, context);
  return error;
}

/// An Error of `kIo` (or kNotFound for ENOENT, kForbidden for EACCES/EPERM, kAlreadyExists for EEXIST) that reads
/// "what: strerror(err)".
[[nodiscard]] Error errno_error(int err, std::string_view what);
[[nodiscard]] inline std::unexpected<Error> fail_errno(int err, std::string_view what) {
  return std::unexpected(errno_error(err, what));
}

/// "NotFound", "Conflict", ...: the code's name in a Kubernetes Status; local codes read "InternalError".
[[nodiscard]] std::string_view reason_of(Code code);
/// The HTTP status that Kubernetes answers for the code.
[[nodiscard]] int http_status_of(Code code);

}  // namespace brume

#define BRUME_CONCAT_(a, b) a##b
#define BRUME_CONCAT(a, b) BRUME_CONCAT_(a, b)

/// BRUME_TRY(auto x, f()): declares x from f()'s value, or returns its error. BRUME_CHECK(f()) for Status.
#define BRUME_TRY_(tmp, decl, expr)                                     \
  auto tmp = (expr);                                                    \
  if (!tmp.has_value()) return std::unexpected(std::move(tmp).error()); \
  decl = std::move(tmp).value()
#define BRUME_TRY(decl, expr) BRUME_TRY_(BRUME_CONCAT(try_, __COUNTER__), decl, expr)
#define BRUME_CHECK(expr)                                                                             \
  do {                                                                                                \
    if (auto check_ = (expr); !check_.has_value()) return std::unexpected(std::move(check_).error()); \
  } while (false)

/// The same inside a coroutine.
#define BRUME_CO_TRY_(tmp, decl, expr)                                     \
  auto tmp = (expr);                                                       \
  if (!tmp.has_value()) co_return std::unexpected(std::move(tmp).error()); \
  decl = std::move(tmp).value()
#define BRUME_CO_TRY(decl, expr) BRUME_CO_TRY_(BRUME_CONCAT(try_, __COUNTER__), decl, expr)
#define BRUME_CO_CHECK(expr)                                                                             \
  do {                                                                                                   \
    if (auto check_ = (expr); !check_.has_value()) co_return std::unexpected(std::move(check_).error()); \
  } while (false)
