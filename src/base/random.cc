#include "brume/base/random.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>

#include "brume/base/strings.h"

namespace brume {

namespace {

void fill(std::span<char> bytes) {
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got = ::getrandom(bytes.data() + have, bytes.size() - have, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) std::abort();
    have += static_cast<std::size_t>(got);
  }
}

// For uids and names, of which each request takes some: one system call for many. Used bytes do not stay.
void draw(std::span<char> bytes) {
  constexpr std::size_t kPool = 1024;
  thread_local std::array<char, kPool> pool{};
  thread_local std::size_t used = kPool;
  if (kPool - used < bytes.size()) {
    fill(pool);
    used = 0;
  }
  const auto taken = std::span(pool).subspan(used, bytes.size());
  std::ranges::copy(taken, bytes.begin());
  std::ranges::fill(taken, '\0');
  used += bytes.size();
}

}  // namespace

std::string random_bytes(std::size_t count) {
  std::string bytes(count, '\0');
  fill(bytes);
  return bytes;
}

std::string new_uid() {
  std::array<char, 16> bytes{};
  draw(bytes);
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);
  std::string text = hex_encode(std::string_view(bytes.data(), bytes.size()));
  for (const std::size_t at : {20U, 16U, 12U, 8U}) text.insert(at, "-");
  return text;
}

std::string random_suffix(std::size_t length) {
  // apimachinery's util/rand alphabet: generated names cannot spell words.
  constexpr std::string_view kAlphabet = "bcdfghjklmnpqrstvwxz2456789";
  std::string out(length, '\0');
  draw(out);
  for (char& c : out) c = kAlphabet[static_cast<unsigned char>(c) % kAlphabet.size()];
  return out;
}

std::uint64_t random_u64() {
  std::uint64_t value = 0;
  const std::string bytes = random_bytes(sizeof value);
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

}  // namespace brume
