// nf_tables over netlink: rules as lists of expressions, and changes of tables, chains, sets and elements in one
// transaction. Words are the kernel's (linux/netfilter/nf_tables.h) and nft(8)'s.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/result.h"
#include "brume/linux/netlink.h"

namespace brume::nft {

/// Address family of a table (NFPROTO_*).
enum class Family : std::uint8_t { kInet = 1, kIpv4 = 2, kIpv6 = 10 };

/// A 32-bit register, 0 to 15. Longer values (an address of IPv6, a concatenation) take the following ones too.
using Register = std::uint8_t;

/// What happens with a packet. kGoto and kJump name a chain.
struct Verdict {
  enum class Kind : std::uint8_t { kAccept, kDrop, kReturn, kGoto, kJump };
  Kind kind = Kind::kAccept;
  std::string chain;
  auto operator<=>(const Verdict&) const = default;
};

/// Builds one rule: expressions in order; the first that does not match ends it. A rule is a value: bytes() compares.
class Rule {
 public:
  enum class Base : std::uint8_t { kLink = 0, kNetwork = 1, kTransport = 2 };
  /// Loads `length` bytes of a header, from `offset`, into `to`.
  Rule& payload(Base base, std::uint32_t offset, std::uint32_t length, Register to);
  Rule& meta_l4proto(Register to);  ///< 1 byte
  Rule& meta_mark(Register to);     ///< 4 bytes, host order
  Rule& set_meta_mark(Register from);
  Rule& input_interface_is(std::string_view name, bool equal = true);   ///< uses register 0-3
  Rule& output_interface_is(std::string_view name, bool equal = true);  ///< uses register 0-3
  Rule& ct_status(Register to);                                         ///< 4 bytes, host order, IPS_*
  Rule& ct_state(Register to);  ///< 4 bytes, host order: 1 invalid, 2 established, 4 related, 8 new
  Rule& fib_address_type(bool destination, Register to);  ///< 4 bytes, host order, RTN_*
  Rule& compare(Register from, std::string_view value, bool equal = true);
  Rule& compare_u32(Register from, std::uint32_t value, bool equal = true);  ///< host order
  /// to = (from & mask) ^ exclusive_or; all of one length.
  Rule& bitwise(Register from, Register to, std::string_view mask, std::string_view exclusive_or);
  Rule& load(Register to, std::string_view value);
  /// Goes on only if the set has (or, `inverted`, has not) the key in `from`.
  Rule& in_set(std::string_view set, Register from, bool inverted = false);
  /// Loads what the map gives for the key in `from`; ends the rule when it has no such key.
  Rule& map(std::string_view map, Register from, Register to);
  /// Takes the verdict that the map gives for the key in `from`.
  Rule& verdict_map(std::string_view map, Register from);
  Rule& random(std::uint32_t modulus, Register to);  ///< 4 bytes, host order, 0 to modulus-1
  Rule& hash(Register from, std::uint32_t length, std::uint32_t modulus, Register to);  ///< jhash, 4 bytes, host order
  /// Adds the key in `key` (and the value in `data`) to a dynamic set, or makes a present one live on for `timeout`.
  Rule& update_set(std::string_view set, Register key, std::optional<Register> data, std::chrono::milliseconds timeout);
  Rule& dnat(Family family, Register address, std::optional<Register> port);
  Rule& masquerade();  ///< with fully random source ports: parallel queries from many pods do not collide
  Rule& redirect(Register port);
  Rule& reject_tcp_reset();
  Rule& reject_port_unreachable(Family family);
  Rule& counter();
  Rule& verdict(const Verdict& verdict);

  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  template <typename F>
  Rule& expression(std::string_view name, F&& fill);
  Rule& interface_is(std::uint32_t key, std::string_view name, bool equal);
  std::string bytes_;
};

/// Data types as `nft list` names them (libnftables' datatype.h); only for people who look.
enum class DataType : std::uint8_t {
  kNone = 0,
  kIpv4 = 7,
  kIpv6 = 8,
  kProtocol = 12,
  kPort = 13,
  kMark = 19,
  kIndex = 4
};
/// The type number of a concatenation, first part first.
[[nodiscard]] std::uint32_t concatenation(std::initializer_list<DataType> parts);

struct Set {
  enum class Data : std::uint8_t { kNone, kValue, kVerdict };  ///< a set, a map, a verdict map
  std::string name;
  std::uint32_t key_type = 0;
  std::uint32_t key_length = 0;  ///< bytes; each part of a concatenation is padded to 4
  Data data = Data::kNone;
  std::uint32_t data_type = 0;
  std::uint32_t data_length = 0;
  bool dynamic = false;                  ///< rules add elements
  std::chrono::milliseconds timeout{0};  ///< default life of an element; 0: for ever
  std::uint32_t size = 0;                ///< elements at most; 0: no limit
  bool operator==(const Set&) const = default;
};

/// Where a base chain hooks in. A chain without is reached by jump, goto and verdict maps.
struct Hook {
  enum class Type : std::uint8_t { kFilter, kNat, kRoute };
  enum class Point : std::uint8_t { kPrerouting = 0, kInput = 1, kForward = 2, kOutput = 3, kPostrouting = 4 };
  Type type = Type::kFilter;
  Point point = Point::kPrerouting;
  std::int32_t priority = 0;  ///< NF_IP_PRI_*: -300 raw, -100 dstnat, 0 filter, 100 srcnat
  bool drop = false;          ///< the policy: what no rule decides is dropped
  bool operator==(const Hook&) const = default;
};

/// One element's data: nothing (a set), bytes (a map) or a verdict (a verdict map).
struct ElementData {
  std::string value;
  std::optional<Verdict> verdict;
  bool operator==(const ElementData&) const = default;
};

/// Changes of one table that come true together or not at all.
class Batch {
 public:
  Batch(Family family, std::string table);

  void add_table();     ///< an existing one is left as it is
  void delete_table();  ///< with all it holds; it must exist (add_table() before it makes sure)
  void add_chain(std::string_view chain, std::optional<Hook> hook = std::nullopt);
  void flush_chain(std::string_view chain);   ///< deletes its rules
  void delete_chain(std::string_view chain);  ///< must be flushed and unreferenced
  void add_rule(std::string_view chain, const Rule& rule);
  /// Before the rules that are there. nft(8) shows the comment (at most 127 bytes).
  void insert_rule(std::string_view chain, const Rule& rule, std::string_view comment);
  void delete_rule(std::string_view chain, std::uint64_t handle);
  void add_set(const Set& set);
  void delete_set(std::string_view name);
  void add_element(std::string_view set, std::string_view key, const ElementData& data);
  void delete_element(std::string_view set, std::string_view key);

  [[nodiscard]] bool empty() const { return changes_ == 0; }
  /// Sends it. The error names the change that the kernel refused and why. A batch is committed once.
  Status commit(netlink::Socket& socket);

 private:
  netlink::AttributeWriter begin(std::uint16_t message, std::uint16_t flags, std::string what);
  void marker(std::uint16_t message);
  Family family_;
  std::string table_;
  netlink::Messages messages_;
  std::uint32_t set_id_ = 0;
  std::size_t changes_ = 0;
};

/// Whether the table exists.
Result<bool> table_exists(netlink::Socket& socket, Family family, std::string_view table);

/// A chain that hooks in, of whatever table.
struct BaseChain {
  std::string table;
  std::string name;
  Hook hook;
};
Result<std::vector<BaseChain>> base_chains(netlink::Socket& socket, Family family);
/// A rule as far as others may know it.
struct ListedRule {
  std::uint64_t handle = 0;
  std::string comment;
};
Result<std::vector<ListedRule>> list_rules(netlink::Socket& socket, Family family, std::string_view table,
                                           std::string_view chain);
/// A number that every transaction of the network namespace changes, whoever makes it.
Result<std::uint32_t> generation(netlink::Socket& socket);
/// Visits the elements of a set: key and, of a map, value.
Status each_element(netlink::Socket& socket, Family family, std::string_view table, std::string_view set,
                    const std::function<void(std::string_view key, std::string_view value)>& visit);

}  // namespace brume::nft
