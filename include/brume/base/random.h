// Random bytes from the kernel, and the names and ids that Kubernetes makes of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace brume {

[[nodiscard]] std::string random_bytes(std::size_t count);  ///< getrandom(2); aborts if the kernel has none
[[nodiscard]] std::string new_uid();                        ///< RFC 9562 version 4, lower case
/// `length` characters of Kubernetes' alphabet for generated names (no vowels, no look-alikes).
[[nodiscard]] std::string random_suffix(std::size_t length);
[[nodiscard]] std::uint64_t random_u64();

}  // namespace brume
