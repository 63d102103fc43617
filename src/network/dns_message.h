// DNS messages: names, questions, answers (RFC 1035, RFC 6891). Everything that comes from the network is checked.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/result.h"
#include "brume/linux/address.h"

namespace brume::network::dns {

inline constexpr std::size_t kHeaderSize = 12;
inline constexpr std::size_t kMaxName = 255;  // RFC 1035 section 2.3.4
inline constexpr std::size_t kMaxLabel = 63;
inline constexpr std::size_t kPlainUdpSize = 512;   // without EDNS
inline constexpr std::size_t kMostUdpSize = 1'232;  // what passes unfragmented everywhere (DNS flag day 2020)
inline constexpr std::size_t kMaxMessage = 65'535;

enum class Type : std::uint16_t {
  kA = 1,
  kNs = 2,
  kCname = 5,
  kSoa = 6,
  kPtr = 12,
  kTxt = 16,
  kAaaa = 28,
  kSrv = 33,
  kOpt = 41,
  kAny = 255
};
enum class Rcode : std::uint8_t {
  kNoError = 0,
  kFormErr = 1,
  kServFail = 2,
  kNxDomain = 3,
  kNotImp = 4,
  kRefused = 5,
  kBadVers = 16
};
inline constexpr std::uint16_t kClassIn = 1;

/// A name in wire form without compression: labels with their lengths, and the root's 0. Compare in lower case.
class Name {
 public:
  Name() = default;
  /// "web.default.svc.cluster.local", with or without the last dot; nullopt for empty or long labels.
  static std::optional<Name> parse(std::string_view text);
  /// From wire form that is known to be good.
  static Name from_wire(std::string wire) { return Name(std::move(wire)); }

  [[nodiscard]] const std::string& wire() const { return wire_; }
  [[nodiscard]] std::string str() const;  ///< without the last dot; unprintable bytes as \DDD
  [[nodiscard]] Name lower() const;
  /// Labels in order, the root's left out; views into this name.
  [[nodiscard]] std::vector<std::string_view> labels() const;
  /// Whether this name is `zone` or below it (both in the same case).
  [[nodiscard]] bool within(const Name& zone) const;
  auto operator<=>(const Name&) const = default;

 private:
  explicit Name(std::string wire) : wire_(std::move(wire)) {}
  std::string wire_ = std::string(1, '\0');
};

/// A query as understood: one question, and what EDNS says.
struct Query {
  std::uint16_t id = 0;
  std::uint8_t opcode = 0;
  bool recursion_desired = false;
  bool checking_disabled = false;
  Name name;  ///< as asked, case kept
  std::uint16_t type = 0;
  std::uint16_t klass = 0;
  bool edns = false;
  std::uint8_t edns_version = 0;
  bool dnssec_ok = false;
  std::size_t udp_size = kPlainUdpSize;  ///< the largest answer that the client takes by UDP
};

/// kBadRequest: answer FORMERR with the id, if there is one (kHeaderSize bytes). kForbidden: no query at all (a
/// response): never answer.
[[nodiscard]] Result<Query> parse_query(std::string_view bytes);

/// Reads the name at `offset` and moves it past. Compression pointers must point backwards, so they cannot loop.
[[nodiscard]] std::optional<Name> read_name(std::string_view message, std::size_t& offset);

/// A resource record to be written. `data` is what follows RDLENGTH; names in it are uncompressed.
struct Record {
  Name name;
  Type type = Type::kA;
  std::uint32_t ttl = 0;
  std::string data;

  static Record address(Name name, std::uint32_t ttl, const net::IpAddress& address);
  static Record pointer(Type type, Name name, std::uint32_t ttl, const Name& target);  ///< CNAME, NS, PTR
  static Record srv(Name name, std::uint32_t ttl, std::uint16_t priority, std::uint16_t weight, std::uint16_t port,
                    const Name& target);
  static Record txt(Name name, std::uint32_t ttl, std::string_view text);
  static Record soa(Name name, std::uint32_t ttl, const Name& server, const Name& contact, std::uint32_t serial);
  bool operator==(const Record&) const = default;
};

/// An answer before it is written.
struct Answer {
  Rcode rcode = Rcode::kNoError;
  bool authoritative = false;
  std::vector<Record> answers, authority, additional;
};

/// The message for `query`, at most `limit` bytes: records that do not fit are left out and TC is set (additional ones
/// are left out silently). The question is repeated byte for byte.
[[nodiscard]] std::string write_answer(const Query& query, const Answer& answer, std::size_t limit);
/// FORMERR for a message whose question could not be read.
[[nodiscard]] std::string write_format_error(std::uint16_t id);

/// The query to ask another server: recursion desired, EDNS and its DO bit as in `query`.
[[nodiscard]] std::string write_query(const Query& query, std::uint16_t id);
/// The A, AAAA and CNAME records among a response's answers; empty for what cannot be read.
[[nodiscard]] std::vector<Record> read_answers(std::string_view bytes);

/// What matters of a response from elsewhere.
struct ResponseInfo {
  std::uint16_t id = 0;
  bool truncated = false;
  std::uint8_t rcode = 0;
  Name name;
  std::uint16_t type = 0, klass = 0;
  std::size_t question_end = 0;
  std::uint32_t min_ttl = 0;             ///< of all records but OPT; of a negative answer also the SOA's minimum
  std::vector<std::size_t> ttl_offsets;  ///< where the records' TTLs stand
};
/// nullopt for anything that is not a well-formed response with one question.
[[nodiscard]] std::optional<ResponseInfo> parse_response(std::string_view bytes);

}  // namespace brume::network::dns
