#include "spdy_frame.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <vector>

#include "brume/base/strings.h"

namespace brume::http::spdy {

namespace {

// A block inflates to at most this: a bomb is cut here.
constexpr std::size_t kMaxBlock = 256 * 1024;

// The zlib dictionary that section 2.6.10.1 of the SPDY/3 draft fixes: words, each with its length in four bytes in
// front, then one run of frequent text. Its Adler-32 is 0xe3c6a7c2.
constexpr std::string_view kWords =
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin";
constexpr std::string_view kText =
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug "
    "Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch"
    "charset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

const std::string& dictionary() {
  static const std::string made = [] {
    std::string out;
    for (const auto word : split(kWords, ' ')) {
      std::string text(word);
      std::ranges::replace(text, '_', ' ');
      append_u32(out, static_cast<std::uint32_t>(text.size()));
      out += text;
    }
    return out.append(kText);
  }();
  return made;
}

const Bytef* bytes_of(std::string_view text) { return reinterpret_cast<const Bytef*>(text.data()); }

Result<Headers> parse_block(std::string_view block) {
  const auto bad = [] { return fail(Code::kCorrupt, "SPDY: malformed header block"); };
  std::size_t at = 0;
  const auto next_string = [&]() -> std::optional<std::string_view> {
    if (block.size() - at < 4) return std::nullopt;
    const auto size = read_u32(block, at);
    at += 4;
    if (block.size() - at < size) return std::nullopt;
    const auto text = block.substr(at, size);
    at += size;
    return text;
  };
  if (block.size() < 4) return bad();
  const auto count = read_u32(block, 0);
  at = 4;
  Headers headers;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto name = next_string();
    const auto value = name ? next_string() : std::nullopt;
    if (!value || name->empty()) return bad();
    // Several values of a name stand in one, parted by NUL.
    for (const auto part : split(*value, '\0')) headers.add(std::string(*name), std::string(part));
  }
  return headers;
}

}  // namespace

std::uint32_t read_u32(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<std::uint8_t>(bytes[at + i]);
  return value;
}

void append_u32(std::string& out, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xFF);
}

Head parse_head(std::string_view bytes) {
  const auto first = read_u32(bytes, 0);
  const auto second = read_u32(bytes, 4);
  Head head;
  head.control = (first & 0x8000'0000U) != 0;
  head.version = static_cast<std::uint16_t>(first >> 16 & 0x7FFF);
  head.type = static_cast<std::uint16_t>(first & 0xFFFF);
  head.stream = first & 0x7FFF'FFFFU;
  head.flags = static_cast<std::uint8_t>(second >> 24);
  head.size = second & 0xFF'FFFF;
  return head;
}

void append_control(std::string& out, Type type, std::uint8_t flags, std::string_view payload) {
  append_u32(out, 0x8003'0000U | static_cast<std::uint32_t>(type));
  append_u32(out, static_cast<std::uint32_t>(flags) << 24 | static_cast<std::uint32_t>(payload.size()));
  out += payload;
}

void append_data(std::string& out, std::uint32_t stream, std::uint8_t flags, std::string_view bytes) {
  append_u32(out, stream);
  append_u32(out, static_cast<std::uint32_t>(flags) << 24 | static_cast<std::uint32_t>(bytes.size()));
  out += bytes;
}

struct HeaderReader::State {
  z_stream zlib{};
};

HeaderReader::HeaderReader() : state_(std::make_unique<State>()) { inflateInit(&state_->zlib); }
HeaderReader::~HeaderReader() { inflateEnd(&state_->zlib); }

Result<Headers> HeaderReader::read(std::string_view block) {
  auto& zlib = state_->zlib;
  zlib.next_in = const_cast<Bytef*>(bytes_of(block));
  zlib.avail_in = static_cast<uInt>(block.size());
  std::string plain;
  std::array<char, 4096> part{};
  while (true) {
    zlib.next_out = reinterpret_cast<Bytef*>(part.data());
    zlib.avail_out = part.size();
    const int result = inflate(&zlib, Z_SYNC_FLUSH);
    plain.append(part.data(), part.size() - zlib.avail_out);
    if (plain.size() > kMaxBlock) return fail(Code::kCorrupt, "SPDY: the header block is too big");
    if (result == Z_NEED_DICT) {
      const auto& words = dictionary();
      if (inflateSetDictionary(&zlib, bytes_of(words), static_cast<uInt>(words.size())) != Z_OK) {
        return fail(Code::kCorrupt, "SPDY: the header block asks for another dictionary");
      }
      continue;
    }
    if (result != Z_OK && result != Z_BUF_ERROR) return fail(Code::kCorrupt, "SPDY: bad header compression");
    if (zlib.avail_in == 0 && zlib.avail_out > 0) break;
    if (result == Z_BUF_ERROR) return fail(Code::kCorrupt, "SPDY: bad header compression");
  }
  return parse_block(plain);
}

struct HeaderWriter::State {
  z_stream zlib{};
};

HeaderWriter::HeaderWriter() : state_(std::make_unique<State>()) {
  // A small window is enough for the few short headers that brume sends, and spares 200 KB a session.
  deflateInit2(&state_->zlib, Z_BEST_SPEED, Z_DEFLATED, 11, 4, Z_DEFAULT_STRATEGY);
  const auto& words = dictionary();
  deflateSetDictionary(&state_->zlib, bytes_of(words), static_cast<uInt>(words.size()));
}
HeaderWriter::~HeaderWriter() { deflateEnd(&state_->zlib); }

std::string HeaderWriter::write(const Headers& headers) {
  std::vector<std::pair<std::string, std::string>> merged;
  for (const auto& [name, value] : headers) {
    auto lower = to_lower(name);
    auto it = std::ranges::find(merged, lower, &std::pair<std::string, std::string>::first);
    if (it == merged.end()) {
      merged.emplace_back(std::move(lower), value);
    } else {
      it->second.append(1, '\0').append(value);
    }
  }
  std::string plain;
  append_u32(plain, static_cast<std::uint32_t>(merged.size()));
  for (const auto& [name, value] : merged) {
    append_u32(plain, static_cast<std::uint32_t>(name.size()));
    plain += name;
    append_u32(plain, static_cast<std::uint32_t>(value.size()));
    plain += value;
  }
  auto& zlib = state_->zlib;
  zlib.next_in = const_cast<Bytef*>(bytes_of(plain));
  zlib.avail_in = static_cast<uInt>(plain.size());
  std::string out;
  std::array<char, 1024> part{};
  do {
    zlib.next_out = reinterpret_cast<Bytef*>(part.data());
    zlib.avail_out = part.size();
    deflate(&zlib, Z_SYNC_FLUSH);
    out.append(part.data(), part.size() - zlib.avail_out);
  } while (zlib.avail_out == 0);
  return out;
}

}  // namespace brume::http::spdy
