#include "dns_message.h"

#include <algorithm>
#include <utility>

namespace brume::network::dns {
namespace {

constexpr std::uint16_t kQr = 0x8000, kAa = 0x0400, kTc = 0x0200, kRd = 0x0100, kRa = 0x0080, kCd = 0x0010;
constexpr std::size_t kRecordFixed = 10;  // type, class, TTL, RDLENGTH
constexpr std::size_t kOptSize = 11;

char lower_char(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

void put16(std::string& out, std::size_t value) {
  out.push_back(static_cast<char>((value >> 8) & 0xff));
  out.push_back(static_cast<char>(value & 0xff));
}
void put32(std::string& out, std::uint32_t value) {
  put16(out, value >> 16);
  put16(out, value & 0xffff);
}
std::uint16_t get16(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint16_t>((static_cast<unsigned char>(bytes[at]) << 8) |
                                    static_cast<unsigned char>(bytes[at + 1]));
}
std::uint32_t get32(std::string_view bytes, std::size_t at) {
  return (static_cast<std::uint32_t>(get16(bytes, at)) << 16) | get16(bytes, at + 2);
}

/// Writes names, pointing back at suffixes that were written before.
class Compressor {
 public:
  explicit Compressor(std::string& out) : out_(out) {}

  void write(const Name& name) {
    constexpr std::size_t kFarthest = 0x3fff;  // 14 bits of a pointer
    const std::string& wire = name.wire();
    std::size_t at = 0;
    while (at < wire.size() && wire[at] != 0) {
      std::string suffix = wire.substr(at);  // exact case: the client gets back what it or the record says
      if (auto seen = offsets_.find(suffix); seen != offsets_.end()) {
        put16(out_, 0xc000 | seen->second);
        return;
      }
      if (out_.size() <= kFarthest) offsets_.emplace(std::move(suffix), out_.size());
      std::size_t length = static_cast<unsigned char>(wire[at]) + 1U;
      out_.append(wire, at, length);
      at += length;
    }
    out_.push_back('\0');
  }

 private:
  std::string& out_;
  std::map<std::string, std::size_t> offsets_;
};

void write_header(std::string& out, std::uint16_t id, std::uint16_t flags) {
  put16(out, id);
  put16(out, flags);
  out.append(kHeaderSize - 4, '\0');
}

void set16(std::string& out, std::size_t at, std::size_t value) {
  out[at] = static_cast<char>((value >> 8) & 0xff);
  out[at + 1] = static_cast<char>(value & 0xff);
}

struct RecordHead {
  std::uint16_t type = 0, klass = 0, length = 0;
  std::uint32_t ttl = 0;
  std::size_t ttl_at = 0, data_at = 0;
  bool root_name = false;
};

/// Reads one record's head and moves `offset` past its data.
std::optional<RecordHead> read_record(std::string_view bytes, std::size_t& offset) {
  auto name = read_name(bytes, offset);
  if (!name || offset + kRecordFixed > bytes.size()) return std::nullopt;
  RecordHead head;
  head.root_name = name->wire().size() == 1;
  head.type = get16(bytes, offset);
  head.klass = get16(bytes, offset + 2);
  head.ttl_at = offset + 4;
  head.ttl = get32(bytes, head.ttl_at);
  head.length = get16(bytes, offset + 8);
  head.data_at = offset + kRecordFixed;
  if (head.data_at + head.length > bytes.size()) return std::nullopt;
  offset = head.data_at + head.length;
  return head;
}

}  // namespace

std::optional<Name> Name::parse(std::string_view text) {
  if (!text.empty() && text.back() == '.') text.remove_suffix(1);
  std::string wire;
  while (!text.empty()) {
    std::size_t dot = std::min(text.find('.'), text.size());
    if (dot == 0 || dot > kMaxLabel) return std::nullopt;
    wire.push_back(static_cast<char>(dot));
    wire.append(text.substr(0, dot));
    if (dot + 1 == text.size()) return std::nullopt;  // two dots at the end
    text.remove_prefix(std::min(text.size(), dot + 1));
  }
  wire.push_back('\0');
  if (wire.size() > kMaxName) return std::nullopt;
  return Name(std::move(wire));
}

std::string Name::str() const {
  std::string text;
  for (std::string_view label : labels()) {
    if (!text.empty()) text += '.';
    for (char c : label) {
      auto byte = static_cast<unsigned char>(c);
      if (byte > 0x20 && byte < 0x7f && c != '.' && c != '\\') {
        text += c;
      } else {
        text += '\\';
        text += static_cast<char>('0' + byte / 100);
        text += static_cast<char>('0' + byte / 10 % 10);
        text += static_cast<char>('0' + byte % 10);
      }
    }
  }
  return text;
}

Name Name::lower() const {
  Name name = *this;
  for (std::size_t at = 0; at < name.wire_.size() && name.wire_[at] != 0;) {
    auto length = static_cast<unsigned char>(name.wire_[at]);
    for (std::size_t i = 1; i <= length; ++i) name.wire_[at + i] = lower_char(name.wire_[at + i]);
    at += length + 1U;
  }
  return name;
}

std::vector<std::string_view> Name::labels() const {
  std::vector<std::string_view> labels;
  for (std::size_t at = 0; at < wire_.size() && wire_[at] != 0;) {
    auto length = static_cast<unsigned char>(wire_[at]);
    labels.push_back(std::string_view(wire_).substr(at + 1, length));
    at += length + 1U;
  }
  return labels;
}

bool Name::within(const Name& zone) const {
  if (zone.wire_.size() > wire_.size()) return false;
  std::size_t cut = wire_.size() - zone.wire_.size();
  for (std::size_t at = 0; at <= cut; at += static_cast<unsigned char>(wire_[at]) + 1U) {
    if (at == cut) return wire_.compare(cut, std::string::npos, zone.wire_) == 0;
  }
  return false;
}

std::optional<Name> read_name(std::string_view message, std::size_t& offset) {
  std::string wire;
  std::size_t at = offset;
  std::size_t lowest = offset;  // a pointer must go below everything read so far
  bool jumped = false;
  for (;;) {
    if (at >= message.size()) return std::nullopt;
    auto length = static_cast<unsigned char>(message[at]);
    if ((length & 0xc0) == 0xc0) {
      if (at + 1 >= message.size()) return std::nullopt;
      std::size_t target = get16(message, at) & 0x3fff;
      if (!jumped) offset = at + 2;
      jumped = true;
      if (target >= lowest || target < kHeaderSize) return std::nullopt;
      at = lowest = target;
      continue;
    }
    if (length > kMaxLabel || at + 1 + length > message.size()) return std::nullopt;
    wire.append(message.substr(at, length + 1U));
    if (wire.size() > kMaxName) return std::nullopt;
    at += length + 1U;
    if (length == 0) break;
  }
  if (!jumped) offset = at;
  return Name::from_wire(std::move(wire));
}

Result<Query> parse_query(std::string_view bytes) {
  if (bytes.size() < kHeaderSize) return fail(Code::kForbidden, "shorter than a DNS header");
  std::uint16_t flags = get16(bytes, 2);
  if ((flags & kQr) != 0) return fail(Code::kForbidden, "a response, not a query");
  Query query;
  query.id = get16(bytes, 0);
  query.opcode = (flags >> 11) & 0xf;
  query.recursion_desired = (flags & kRd) != 0;
  query.checking_disabled = (flags & kCd) != 0;
  if (get16(bytes, 4) != 1) return fail(Code::kBadRequest, "not exactly one question");
  std::size_t offset = kHeaderSize;
  auto name = read_name(bytes, offset);
  if (!name || offset + 4 > bytes.size()) return fail(Code::kBadRequest, "the question cannot be read");
  query.name = std::move(*name);
  query.type = get16(bytes, offset);
  query.klass = get16(bytes, offset + 2);
  offset += 4;
  std::size_t before_additional = std::size_t{get16(bytes, 6)} + get16(bytes, 8);
  std::size_t records = before_additional + get16(bytes, 10);
  for (std::size_t i = 0; i < records; ++i) {
    auto head = read_record(bytes, offset);
    if (!head) return fail(Code::kBadRequest, "a record cannot be read");
    if (i < before_additional || head->type != std::to_underlying(Type::kOpt)) continue;
    if (query.edns || !head->root_name) return fail(Code::kBadRequest, "bad OPT record");
    query.edns = true;
    query.edns_version = (head->ttl >> 16) & 0xff;
    query.dnssec_ok = (head->ttl & 0x8000) != 0;
    query.udp_size = std::clamp<std::size_t>(head->klass, kPlainUdpSize, kMostUdpSize);
  }
  return query;
}

Record Record::address(Name name, std::uint32_t ttl, const net::IpAddress& address) {
  return {std::move(name), address.is_v6() ? Type::kAaaa : Type::kA, ttl, std::string(address.octets())};
}

Record Record::pointer(Type type, Name name, std::uint32_t ttl, const Name& target) {
  return {std::move(name), type, ttl, target.wire()};
}

Record Record::srv(Name name, std::uint32_t ttl, std::uint16_t priority, std::uint16_t weight, std::uint16_t port,
                   const Name& target) {
  Record record{std::move(name), Type::kSrv, ttl, {}};
  put16(record.data, priority);
  put16(record.data, weight);
  put16(record.data, port);
  record.data += target.wire();
  return record;
}

Record Record::txt(Name name, std::uint32_t ttl, std::string_view text) {
  text = text.substr(0, 255);
  return {std::move(name), Type::kTxt, ttl, static_cast<char>(text.size()) + std::string(text)};
}

Record Record::soa(Name name, std::uint32_t ttl, const Name& server, const Name& contact, std::uint32_t serial) {
  constexpr std::uint32_t kRefresh = 7'200, kRetry = 1'800, kExpire = 86'400;  // as CoreDNS' kubernetes plugin answers
  Record record{std::move(name), Type::kSoa, ttl, server.wire() + contact.wire()};
  for (std::uint32_t value : {serial, kRefresh, kRetry, kExpire, ttl}) put32(record.data, value);
  return record;
}

std::string write_answer(const Query& query, const Answer& answer, std::size_t limit) {
  std::string out;
  auto rcode = std::to_underlying(answer.rcode);
  auto flags =
      static_cast<std::uint16_t>(kQr | (query.opcode << 11) | kRa | (rcode & 0xf) | (answer.authoritative ? kAa : 0) |
                                 (query.recursion_desired ? kRd : 0) | (query.checking_disabled ? kCd : 0));
  write_header(out, query.id, flags);
  Compressor names(out);
  names.write(query.name);
  put16(out, query.type);
  put16(out, query.klass);
  set16(out, 4, 1);
  std::size_t room = limit - (query.edns ? kOptSize : 0);
  auto section = [&](const std::vector<Record>& records, std::size_t count_at, bool essential) {
    std::size_t written = 0;
    for (const auto& record : records) {
      std::size_t start = out.size();
      names.write(record.name);
      put16(out, std::to_underlying(record.type));
      put16(out, kClassIn);
      put32(out, record.ttl);
      put16(out, record.data.size());
      out += record.data;
      if (out.size() > room) {
        out.resize(start);
        if (essential) set16(out, 2, flags | kTc);
        return false;
      }
      set16(out, count_at, ++written);
    }
    return true;
  };
  if (section(answer.answers, 6, true) && section(answer.authority, 8, true)) section(answer.additional, 10, false);
  if (query.edns) {
    out.push_back('\0');
    put16(out, std::to_underlying(Type::kOpt));
    put16(out, kMostUdpSize);
    put32(out, (std::uint32_t{rcode} >> 4) << 24 | (query.dnssec_ok ? 0x8000U : 0U));
    put16(out, 0);
    set16(out, 10, get16(out, 10) + 1U);
  }
  return out;
}

std::string write_format_error(std::uint16_t id) {
  std::string out;
  write_header(out, id, kQr | std::to_underlying(Rcode::kFormErr));
  return out;
}

std::string write_query(const Query& query, std::uint16_t id) {
  std::string out;
  write_header(out, id, static_cast<std::uint16_t>(kRd | (query.checking_disabled ? kCd : 0)));
  set16(out, 4, 1);
  out += query.name.wire();
  put16(out, query.type);
  put16(out, query.klass);
  if (!query.edns) return out;
  out.push_back('\0');
  put16(out, std::to_underlying(Type::kOpt));
  put16(out, kMostUdpSize);
  put32(out, query.dnssec_ok ? 0x8000U : 0U);
  put16(out, 0);
  set16(out, 10, 1);
  return out;
}

std::vector<Record> read_answers(std::string_view bytes) {
  std::vector<Record> records;
  auto info = parse_response(bytes);
  if (!info) return records;
  std::size_t offset = info->question_end;
  for (std::size_t left = get16(bytes, 6); left > 0; --left) {
    std::size_t name_at = offset;
    auto head = read_record(bytes, offset);
    auto name = read_name(bytes, name_at);
    if (!head || !name) return {};
    auto type = static_cast<Type>(head->type);
    std::size_t data_at = head->data_at;
    if (type == Type::kCname) {
      auto target = read_name(bytes, data_at);
      if (!target) return {};
      records.push_back(Record::pointer(type, *name, head->ttl, *target));
    } else if ((type == Type::kA && head->length == 4) || (type == Type::kAaaa && head->length == 16)) {
      records.push_back({*name, type, head->ttl, std::string(bytes.substr(head->data_at, head->length))});
    }
  }
  return records;
}

std::optional<ResponseInfo> parse_response(std::string_view bytes) {
  if (bytes.size() < kHeaderSize || get16(bytes, 4) != 1) return std::nullopt;
  ResponseInfo info;
  std::uint16_t flags = get16(bytes, 2);
  if ((flags & kQr) == 0) return std::nullopt;
  info.id = get16(bytes, 0);
  info.truncated = (flags & kTc) != 0;
  info.rcode = flags & 0xf;
  std::size_t offset = kHeaderSize;
  auto name = read_name(bytes, offset);
  if (!name || offset + 4 > bytes.size()) return std::nullopt;
  info.name = std::move(*name);
  info.type = get16(bytes, offset);
  info.klass = get16(bytes, offset + 2);
  info.question_end = offset += 4;
  std::size_t records = std::size_t{get16(bytes, 6)} + get16(bytes, 8) + get16(bytes, 10);
  bool any = false;
  for (std::size_t i = 0; i < records; ++i) {
    auto head = read_record(bytes, offset);
    if (!head) {
      if (info.truncated) break;  // some servers cut in the middle of a record
      return std::nullopt;
    }
    if (head->type == std::to_underlying(Type::kOpt)) continue;
    std::uint32_t ttl = head->ttl;
    if (head->type == std::to_underlying(Type::kSoa) && head->length >= 20) {
      ttl = std::min(ttl, get32(bytes, head->data_at + head->length - 4));  // RFC 2308 section 5
    }
    info.min_ttl = any ? std::min(info.min_ttl, ttl) : ttl;
    any = true;
    info.ttl_offsets.push_back(head->ttl_at);
  }
  return info;
}

}  // namespace brume::network::dns
