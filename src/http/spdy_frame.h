// SPDY/3.1 frames and header blocks, as bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "brume/base/result.h"
#include "brume/http/message.h"

namespace brume::http::spdy {

// Numbers of the SPDY/3.1 draft, section 2.6.
enum class Type : std::uint16_t {
  kSynStream = 1,
  kSynReply = 2,
  kRstStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kHeaders = 8,
  kWindowUpdate = 9,
};
inline constexpr std::uint8_t kFlagFin = 1;
inline constexpr std::uint8_t kFlagUnidirectional = 2;
inline constexpr std::uint32_t kStatusProtocolError = 1;
inline constexpr std::uint32_t kStatusInvalidStream = 2;
inline constexpr std::uint32_t kStatusRefusedStream = 3;
inline constexpr std::uint32_t kStatusCancel = 5;
inline constexpr std::uint32_t kSettingInitialWindow = 7;
inline constexpr std::uint32_t kInitialWindow = 64 * 1024;
inline constexpr std::size_t kHeadSize = 8;
/// Control frames above this are refused.
inline constexpr std::uint32_t kMaxControl = 256 * 1024;

/// The first 8 bytes of any frame.
struct Head {
  bool control = false;
  std::uint16_t version = 0;  ///< control
  std::uint16_t type = 0;     ///< control
  std::uint32_t stream = 0;   ///< data
  std::uint8_t flags = 0;
  std::uint32_t size = 0;  ///< of what follows; 24 bits
};

/// `bytes` holds at least kHeadSize.
Head parse_head(std::string_view bytes);
/// Big-endian number at `at`; the caller has checked the size.
std::uint32_t read_u32(std::string_view bytes, std::size_t at);
void append_u32(std::string& out, std::uint32_t value);
void append_control(std::string& out, Type type, std::uint8_t flags, std::string_view payload);
void append_data(std::string& out, std::uint32_t stream, std::uint8_t flags, std::string_view bytes);

/// Inflates the header blocks of one direction of a session; all share one zlib state.
class HeaderReader {
 public:
  HeaderReader();
  ~HeaderReader();
  HeaderReader(const HeaderReader&) = delete;
  HeaderReader& operator=(const HeaderReader&) = delete;
  /// kCorrupt for bad compression or a bad or oversized block; the session cannot go on after it.
  Result<Headers> read(std::string_view block);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Deflates the header blocks of one direction, in the order they are sent.
class HeaderWriter {
 public:
  HeaderWriter();
  ~HeaderWriter();
  HeaderWriter(const HeaderWriter&) = delete;
  HeaderWriter& operator=(const HeaderWriter&) = delete;
  std::string write(const Headers& headers);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace brume::http::spdy
