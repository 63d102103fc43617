// Frames of an HTTP/2 server as bytes (RFC 9113), with header fields in HPACK's plainest form (RFC 7541, 6.2.2).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace brume::test::http2 {

using Fields = std::vector<std::pair<std::string, std::string>>;

inline std::string big_endian(std::uint32_t value, int bytes) {
  std::string out;
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xFF);
  return out;
}

inline std::string frame(char type, char flags, std::uint32_t stream, std::string_view payload) {
  std::string out = big_endian(static_cast<std::uint32_t>(payload.size()), 3) + type + flags + big_endian(stream, 4);
  return out.append(payload);
}

inline const std::string kSettings = frame(4, 0, 0, "");

/// Names and values of at most 126 bytes.
inline std::string headers(const Fields& fields, bool end_stream = false) {
  std::string block;
  for (const auto& [name, value] : fields) {
    block += '\0';
    block += static_cast<char>(name.size());
    block += name;
    block += static_cast<char>(value.size());
    block += value;
  }
  return frame(1, static_cast<char>(end_stream ? 5 : 4), 1, block);
}

inline std::string data_frame(std::string_view bytes, bool end_stream = false) {
  return frame(0, static_cast<char>(end_stream ? 1 : 0), 1, bytes);
}
inline std::string reset(std::uint32_t error_code) { return frame(3, 0, 1, big_endian(error_code, 4)); }
inline std::string goaway(std::uint32_t error_code, std::uint32_t last_stream = 1) {
  return frame(7, 0, 0, big_endian(last_stream, 4) + big_endian(error_code, 4));
}

/// The fields that a gRPC answer begins with.
inline Fields grpc_fields(const Fields& more = {}) {
  Fields out = {{":status", "200"}, {"content-type", "application/grpc"}};
  out.insert(out.end(), more.begin(), more.end());
  return out;
}
inline std::string trailers(const std::string& status) { return headers({{"grpc-status", status}}, true); }
/// A gRPC message with its prefix.
inline std::string message(std::string_view bytes) {
  std::string out = '\0' + big_endian(static_cast<std::uint32_t>(bytes.size()), 4);
  return out.append(bytes);
}

/// A whole answer of the health service.
inline std::string health_answer(char status) {
  return kSettings + headers(grpc_fields()) + data_frame(message(std::string("\x08") + status)) + trailers("0");
}

}  // namespace brume::test::http2
