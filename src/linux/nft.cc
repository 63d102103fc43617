#include "brume/linux/nft.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <net/if.h>

#include <array>
#include <cerrno>
#include <utility>

namespace brume::nft {
namespace {

using netlink::AttributeWriter;
using netlink::Messages;
using netlink::Socket;

constexpr std::uint16_t message_type(std::uint16_t message) { return (NFNL_SUBSYS_NFTABLES << 8) | message; }

nfgenmsg header_of(Family family, std::uint16_t resource = 0) {
  nfgenmsg header{};
  header.nfgen_family = static_cast<std::uint8_t>(family);
  header.version = NFNETLINK_V0;
  header.res_id = htons(resource);
  return header;
}

void write_verdict(AttributeWriter& w, const Verdict& verdict) {
  std::int32_t code = NF_ACCEPT;
  switch (verdict.kind) {
    case Verdict::Kind::kAccept: code = NF_ACCEPT; break;
    case Verdict::Kind::kDrop: code = NF_DROP; break;
    case Verdict::Kind::kReturn: code = NFT_RETURN; break;
    case Verdict::Kind::kGoto: code = NFT_GOTO; break;
    case Verdict::Kind::kJump: code = NFT_JUMP; break;
  }
  w.nest(NFTA_DATA_VERDICT, [&] {
    w.be32(NFTA_VERDICT_CODE, static_cast<std::uint32_t>(code));
    if (!verdict.chain.empty()) w.text(NFTA_VERDICT_CHAIN, verdict.chain);
  });
}

void write_element(AttributeWriter& w, std::string_view set, std::string_view key, const ElementData* data) {
  w.text(NFTA_SET_ELEM_LIST_SET, set);
  w.nest(NFTA_SET_ELEM_LIST_ELEMENTS, [&] {
    w.nest(NFTA_LIST_ELEM, [&] {
      w.nest(NFTA_SET_ELEM_KEY, [&] { w.bytes(NFTA_DATA_VALUE, key); });
      if (data == nullptr) return;
      if (data->verdict.has_value()) {
        w.nest(NFTA_SET_ELEM_DATA, [&] { write_verdict(w, *data->verdict); });
      } else if (!data->value.empty()) {
        w.nest(NFTA_SET_ELEM_DATA, [&] { w.bytes(NFTA_DATA_VALUE, data->value); });
      }
    });
  });
}

std::string_view hook_type_name(Hook::Type type) {
  switch (type) {
    case Hook::Type::kFilter: return "filter";
    case Hook::Type::kNat: return "nat";
    case Hook::Type::kRoute: return "route";
  }
  return "filter";
}

/// User data of a rule is type, length, value; a comment ends with a NUL (NFTNL_UDATA_RULE_COMMENT of libnftnl's
/// udata.h).
constexpr char kRuleComment = 0;

/// The attributes of each answer to a request.
Status each_answer(Socket& socket, Messages& request, const std::function<void(std::string_view)>& visit) {
  return socket.query(request, [&](const netlink::Answer& answer) {
    if (answer.body.size() >= sizeof(nfgenmsg)) visit(answer.body.substr(sizeof(nfgenmsg)));
  });
}

std::string text_of(std::string_view attributes, std::uint16_t type) {
  const auto value = netlink::find_attribute(attributes, type);
  return std::string(value.substr(0, value.find('\0')));
}

template <typename T>
T number_of(std::string_view attributes, std::uint16_t type) {
  T value = 0;
  for (const char octet : netlink::find_attribute(attributes, type)) {
    value = static_cast<T>(value << 8 | static_cast<std::uint8_t>(octet));  // network order
  }
  return value;
}

std::string comment_of(std::string_view note) {
  while (note.size() >= 2) {
    const auto size = static_cast<std::uint8_t>(note[1]);
    const auto value = note.substr(2, size);
    if (note[0] == kRuleComment) return std::string(value.substr(0, value.find('\0')));
    note.remove_prefix(std::min<std::size_t>(note.size(), 2U + size));
  }
  return {};
}

std::string in_quotes(std::string_view name) { return "\"" + std::string(name) + "\""; }

}  // namespace

std::uint32_t concatenation(std::initializer_list<DataType> parts) {
  constexpr std::uint32_t kBitsOfType = 6;  // TYPE_BITS of libnftables
  std::uint32_t type = 0;
  for (DataType part : parts) type = (type << kBitsOfType) | std::to_underlying(part);
  return type;
}

Batch::Batch(Family family, std::string table) : family_(family), table_(std::move(table)) {
  marker(NFNL_MSG_BATCH_BEGIN);
}

void Batch::marker(std::uint16_t message) {
  AttributeWriter w = messages_.begin(message, 0, "nf_tables transaction on table " + table_);
  nfgenmsg header = header_of(Family{0}, NFNL_SUBSYS_NFTABLES);
  w.structure(header);
}

AttributeWriter Batch::begin(std::uint16_t message, std::uint16_t flags, std::string what) {
  ++changes_;
  AttributeWriter w =
      messages_.begin(message_type(message), flags, "nf_tables, table " + table_ + ": " + std::move(what));
  w.structure(header_of(family_));
  return w;
}

void Batch::add_table() {
  AttributeWriter w = begin(NFT_MSG_NEWTABLE, NLM_F_CREATE, "adding the table");
  w.text(NFTA_TABLE_NAME, table_);
}

void Batch::delete_table() {
  AttributeWriter w = begin(NFT_MSG_DELTABLE, 0, "deleting the table");
  w.text(NFTA_TABLE_NAME, table_);
}

void Batch::add_chain(std::string_view chain, std::optional<Hook> hook) {
  AttributeWriter w = begin(NFT_MSG_NEWCHAIN, NLM_F_CREATE, "adding chain " + in_quotes(chain));
  w.text(NFTA_CHAIN_TABLE, table_);
  w.text(NFTA_CHAIN_NAME, chain);
  if (!hook.has_value()) return;
  w.nest(NFTA_CHAIN_HOOK, [&] {
    w.be32(NFTA_HOOK_HOOKNUM, std::to_underlying(hook->point));
    w.be32(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(hook->priority));
  });
  w.text(NFTA_CHAIN_TYPE, hook_type_name(hook->type));
  w.be32(NFTA_CHAIN_POLICY, hook->drop ? NF_DROP : NF_ACCEPT);
}

void Batch::flush_chain(std::string_view chain) {
  AttributeWriter w = begin(NFT_MSG_DELRULE, 0, "emptying chain " + in_quotes(chain));
  w.text(NFTA_RULE_TABLE, table_);
  w.text(NFTA_RULE_CHAIN, chain);
}

void Batch::delete_chain(std::string_view chain) {
  AttributeWriter w = begin(NFT_MSG_DELCHAIN, 0, "deleting chain " + in_quotes(chain));
  w.text(NFTA_CHAIN_TABLE, table_);
  w.text(NFTA_CHAIN_NAME, chain);
}

void Batch::add_rule(std::string_view chain, const Rule& rule) {
  AttributeWriter w = begin(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, "adding a rule to chain " + in_quotes(chain));
  w.text(NFTA_RULE_TABLE, table_);
  w.text(NFTA_RULE_CHAIN, chain);
  w.bytes(NFTA_RULE_EXPRESSIONS | NLA_F_NESTED, rule.bytes());
}

void Batch::insert_rule(std::string_view chain, const Rule& rule, std::string_view comment) {
  AttributeWriter w = begin(NFT_MSG_NEWRULE, NLM_F_CREATE, "putting a rule before chain " + in_quotes(chain));
  w.text(NFTA_RULE_TABLE, table_);
  w.text(NFTA_RULE_CHAIN, chain);
  w.bytes(NFTA_RULE_EXPRESSIONS | NLA_F_NESTED, rule.bytes());
  std::string note{kRuleComment, static_cast<char>(comment.size() + 1)};
  note.append(comment).push_back('\0');
  w.bytes(NFTA_RULE_USERDATA, note);
}

void Batch::delete_rule(std::string_view chain, std::uint64_t handle) {
  AttributeWriter w = begin(NFT_MSG_DELRULE, 0, "deleting a rule of chain " + in_quotes(chain));
  w.text(NFTA_RULE_TABLE, table_);
  w.text(NFTA_RULE_CHAIN, chain);
  w.be64(NFTA_RULE_HANDLE, handle);
}

void Batch::add_set(const Set& set) {
  AttributeWriter w = begin(NFT_MSG_NEWSET, NLM_F_CREATE, "adding set " + in_quotes(set.name));
  w.text(NFTA_SET_TABLE, table_);
  w.text(NFTA_SET_NAME, set.name);
  std::uint32_t flags = set.data == Set::Data::kNone ? 0 : NFT_SET_MAP;
  if (set.dynamic) flags |= NFT_SET_EVAL;
  if (set.timeout.count() > 0) flags |= NFT_SET_TIMEOUT;
  w.be32(NFTA_SET_FLAGS, flags);
  w.be32(NFTA_SET_KEY_TYPE, set.key_type);
  w.be32(NFTA_SET_KEY_LEN, set.key_length);
  if (set.data == Set::Data::kVerdict) w.be32(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT);
  if (set.data == Set::Data::kValue) {
    w.be32(NFTA_SET_DATA_TYPE, set.data_type);
    w.be32(NFTA_SET_DATA_LEN, set.data_length);
  }
  w.be32(NFTA_SET_ID, ++set_id_);
  if (set.timeout.count() > 0) w.be64(NFTA_SET_TIMEOUT, static_cast<std::uint64_t>(set.timeout.count()));
  if (set.size > 0) w.nest(NFTA_SET_DESC, [&] { w.be32(NFTA_SET_DESC_SIZE, set.size); });
}

void Batch::delete_set(std::string_view name) {
  AttributeWriter w = begin(NFT_MSG_DELSET, 0, "deleting set " + in_quotes(name));
  w.text(NFTA_SET_TABLE, table_);
  w.text(NFTA_SET_NAME, name);
}

void Batch::add_element(std::string_view set, std::string_view key, const ElementData& data) {
  AttributeWriter w = begin(NFT_MSG_NEWSETELEM, NLM_F_CREATE, "adding an element to set " + in_quotes(set));
  w.text(NFTA_SET_ELEM_LIST_TABLE, table_);
  write_element(w, set, key, &data);
}

void Batch::delete_element(std::string_view set, std::string_view key) {
  AttributeWriter w = begin(NFT_MSG_DELSETELEM, 0, "deleting an element of set " + in_quotes(set));
  w.text(NFTA_SET_ELEM_LIST_TABLE, table_);
  write_element(w, set, key, nullptr);
}

Status Batch::commit(Socket& socket) {
  if (empty()) return {};
  marker(NFNL_MSG_BATCH_END);
  return socket.transact_batch(messages_);
}

Result<bool> table_exists(Socket& socket, Family family, std::string_view table) {
  Messages request;
  AttributeWriter w =
      request.begin(message_type(NFT_MSG_GETTABLE), 0, "looking up nf_tables table " + std::string(table), ENOENT);
  w.structure(header_of(family));
  w.text(NFTA_TABLE_NAME, table);
  bool found = false;
  BRUME_CHECK(socket.query(request, [&](const netlink::Answer&) { found = true; }));
  return found;
}

Result<std::vector<BaseChain>> base_chains(Socket& socket, Family family) {
  Messages request;
  request.begin(message_type(NFT_MSG_GETCHAIN), NLM_F_DUMP, "listing nf_tables chains").structure(header_of(family));
  std::vector<BaseChain> out;
  BRUME_CHECK(each_answer(socket, request, [&](std::string_view chain) {
    const auto hook = netlink::find_attribute(chain, NFTA_CHAIN_HOOK);
    if (hook.data() == nullptr) return;
    BaseChain found{text_of(chain, NFTA_CHAIN_TABLE), text_of(chain, NFTA_CHAIN_NAME), {}};
    const std::string type = text_of(chain, NFTA_CHAIN_TYPE);
    found.hook.type = type == "nat" ? Hook::Type::kNat : type == "route" ? Hook::Type::kRoute : Hook::Type::kFilter;
    found.hook.point = Hook::Point{static_cast<std::uint8_t>(number_of<std::uint32_t>(hook, NFTA_HOOK_HOOKNUM))};
    found.hook.priority = static_cast<std::int32_t>(number_of<std::uint32_t>(hook, NFTA_HOOK_PRIORITY));
    found.hook.drop = number_of<std::uint32_t>(chain, NFTA_CHAIN_POLICY) == NF_DROP &&
                      netlink::find_attribute(chain, NFTA_CHAIN_POLICY).data() != nullptr;
    out.push_back(std::move(found));
  }));
  return out;
}

Result<std::vector<ListedRule>> list_rules(Socket& socket, Family family, std::string_view table,
                                           std::string_view chain) {
  Messages request;
  AttributeWriter w = request.begin(message_type(NFT_MSG_GETRULE), NLM_F_DUMP, "listing chain " + in_quotes(chain));
  w.structure(header_of(family));
  w.text(NFTA_RULE_TABLE, table);
  w.text(NFTA_RULE_CHAIN, chain);
  std::vector<ListedRule> out;
  BRUME_CHECK(each_answer(socket, request, [&](std::string_view rule) {
    out.push_back({number_of<std::uint64_t>(rule, NFTA_RULE_HANDLE),
                   comment_of(netlink::find_attribute(rule, NFTA_RULE_USERDATA))});
  }));
  return out;
}

Result<std::uint32_t> generation(Socket& socket) {
  Messages request;
  request.begin(message_type(NFT_MSG_GETGEN), 0, "reading nf_tables' generation").structure(header_of(Family{0}));
  std::uint32_t number = 0;
  BRUME_CHECK(each_answer(socket, request,
                          [&](std::string_view answer) { number = number_of<std::uint32_t>(answer, NFTA_GEN_ID); }));
  return number;
}

Status each_element(Socket& socket, Family family, std::string_view table, std::string_view set,
                    const std::function<void(std::string_view, std::string_view)>& visit) {
  Messages request;
  AttributeWriter w = request.begin(message_type(NFT_MSG_GETSETELEM), NLM_F_DUMP, "listing set " + in_quotes(set));
  w.structure(header_of(family));
  w.text(NFTA_SET_ELEM_LIST_TABLE, table);
  w.text(NFTA_SET_ELEM_LIST_SET, set);
  return each_answer(socket, request, [&](std::string_view answer) {
    std::string_view elements = netlink::find_attribute(answer, NFTA_SET_ELEM_LIST_ELEMENTS);
    netlink::each_attribute(elements, [&](std::uint16_t, std::string_view element) {
      std::string_view key = netlink::find_attribute(element, NFTA_SET_ELEM_KEY);
      std::string_view data = netlink::find_attribute(element, NFTA_SET_ELEM_DATA);
      visit(netlink::find_attribute(key, NFTA_DATA_VALUE), netlink::find_attribute(data, NFTA_DATA_VALUE));
    });
  });
}

template <typename F>
Rule& Rule::expression(std::string_view name, F&& fill) {
  AttributeWriter w(bytes_);
  w.nest(NFTA_LIST_ELEM, [&] {
    w.text(NFTA_EXPR_NAME, name);
    w.nest(NFTA_EXPR_DATA, [&] { fill(w); });
  });
  return *this;
}

namespace {
constexpr std::uint32_t reg(Register number) { return NFT_REG32_00 + number; }
void write_value(AttributeWriter& w, std::uint16_t type, std::string_view value) {
  w.nest(type, [&] { w.bytes(NFTA_DATA_VALUE, value); });
}
std::string_view raw(const std::uint32_t& value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }
}  // namespace

Rule& Rule::payload(Base base, std::uint32_t offset, std::uint32_t length, Register to) {
  return expression("payload", [&](AttributeWriter& w) {
    w.be32(NFTA_PAYLOAD_DREG, reg(to));
    w.be32(NFTA_PAYLOAD_BASE, std::to_underlying(base));
    w.be32(NFTA_PAYLOAD_OFFSET, offset);
    w.be32(NFTA_PAYLOAD_LEN, length);
  });
}

Rule& Rule::meta_l4proto(Register to) {
  return expression("meta", [&](AttributeWriter& w) {
    w.be32(NFTA_META_DREG, reg(to));
    w.be32(NFTA_META_KEY, NFT_META_L4PROTO);
  });
}

Rule& Rule::meta_mark(Register to) {
  return expression("meta", [&](AttributeWriter& w) {
    w.be32(NFTA_META_DREG, reg(to));
    w.be32(NFTA_META_KEY, NFT_META_MARK);
  });
}

Rule& Rule::set_meta_mark(Register from) {
  return expression("meta", [&](AttributeWriter& w) {
    w.be32(NFTA_META_KEY, NFT_META_MARK);
    w.be32(NFTA_META_SREG, reg(from));
  });
}

Rule& Rule::interface_is(std::uint32_t key, std::string_view name, bool equal) {
  expression("meta", [&](AttributeWriter& w) {
    w.be32(NFTA_META_DREG, reg(0));
    w.be32(NFTA_META_KEY, key);
  });
  std::string padded(name);
  padded.resize(IFNAMSIZ);
  return compare(0, padded, equal);
}

Rule& Rule::input_interface_is(std::string_view name, bool equal) {
  return interface_is(NFT_META_IIFNAME, name, equal);
}
Rule& Rule::output_interface_is(std::string_view name, bool equal) {
  return interface_is(NFT_META_OIFNAME, name, equal);
}

Rule& Rule::ct_status(Register to) {
  return expression("ct", [&](AttributeWriter& w) {
    w.be32(NFTA_CT_DREG, reg(to));
    w.be32(NFTA_CT_KEY, NFT_CT_STATUS);
  });
}

Rule& Rule::ct_state(Register to) {
  return expression("ct", [&](AttributeWriter& w) {
    w.be32(NFTA_CT_DREG, reg(to));
    w.be32(NFTA_CT_KEY, NFT_CT_STATE);
  });
}

Rule& Rule::fib_address_type(bool destination, Register to) {
  return expression("fib", [&](AttributeWriter& w) {
    w.be32(NFTA_FIB_DREG, reg(to));
    w.be32(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
    w.be32(NFTA_FIB_FLAGS, destination ? NFTA_FIB_F_DADDR : NFTA_FIB_F_SADDR);
  });
}

Rule& Rule::compare(Register from, std::string_view value, bool equal) {
  return expression("cmp", [&](AttributeWriter& w) {
    w.be32(NFTA_CMP_SREG, reg(from));
    w.be32(NFTA_CMP_OP, equal ? NFT_CMP_EQ : NFT_CMP_NEQ);
    write_value(w, NFTA_CMP_DATA, value);
  });
}

Rule& Rule::compare_u32(Register from, std::uint32_t value, bool equal) { return compare(from, raw(value), equal); }

Rule& Rule::bitwise(Register from, Register to, std::string_view mask, std::string_view exclusive_or) {
  return expression("bitwise", [&](AttributeWriter& w) {
    w.be32(NFTA_BITWISE_SREG, reg(from));
    w.be32(NFTA_BITWISE_DREG, reg(to));
    w.be32(NFTA_BITWISE_LEN, static_cast<std::uint32_t>(mask.size()));
    write_value(w, NFTA_BITWISE_MASK, mask);
    write_value(w, NFTA_BITWISE_XOR, exclusive_or);
  });
}

Rule& Rule::load(Register to, std::string_view value) {
  return expression("immediate", [&](AttributeWriter& w) {
    w.be32(NFTA_IMMEDIATE_DREG, reg(to));
    write_value(w, NFTA_IMMEDIATE_DATA, value);
  });
}

Rule& Rule::in_set(std::string_view set, Register from, bool inverted) {
  return expression("lookup", [&](AttributeWriter& w) {
    w.text(NFTA_LOOKUP_SET, set);
    w.be32(NFTA_LOOKUP_SREG, reg(from));
    if (inverted) w.be32(NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
  });
}

Rule& Rule::map(std::string_view map, Register from, Register to) {
  return expression("lookup", [&](AttributeWriter& w) {
    w.text(NFTA_LOOKUP_SET, map);
    w.be32(NFTA_LOOKUP_SREG, reg(from));
    w.be32(NFTA_LOOKUP_DREG, reg(to));
  });
}

Rule& Rule::verdict_map(std::string_view map, Register from) {
  return expression("lookup", [&](AttributeWriter& w) {
    w.text(NFTA_LOOKUP_SET, map);
    w.be32(NFTA_LOOKUP_SREG, reg(from));
    w.be32(NFTA_LOOKUP_DREG, NFT_REG_VERDICT);
  });
}

Rule& Rule::random(std::uint32_t modulus, Register to) {
  return expression("numgen", [&](AttributeWriter& w) {
    w.be32(NFTA_NG_DREG, reg(to));
    w.be32(NFTA_NG_MODULUS, modulus);
    w.be32(NFTA_NG_TYPE, NFT_NG_RANDOM);
  });
}

Rule& Rule::hash(Register from, std::uint32_t length, std::uint32_t modulus, Register to) {
  return expression("hash", [&](AttributeWriter& w) {
    w.be32(NFTA_HASH_SREG, reg(from));
    w.be32(NFTA_HASH_DREG, reg(to));
    w.be32(NFTA_HASH_LEN, length);
    w.be32(NFTA_HASH_MODULUS, modulus);
    w.be32(NFTA_HASH_TYPE, NFT_HASH_JENKINS);
  });
}

Rule& Rule::update_set(std::string_view set, Register key, std::optional<Register> data,
                       std::chrono::milliseconds timeout) {
  return expression("dynset", [&](AttributeWriter& w) {
    w.text(NFTA_DYNSET_SET_NAME, set);
    w.be32(NFTA_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
    w.be32(NFTA_DYNSET_SREG_KEY, reg(key));
    if (data.has_value()) w.be32(NFTA_DYNSET_SREG_DATA, reg(*data));
    if (timeout.count() > 0) w.be64(NFTA_DYNSET_TIMEOUT, static_cast<std::uint64_t>(timeout.count()));
  });
}

Rule& Rule::dnat(Family family, Register address, std::optional<Register> port) {
  return expression("nat", [&](AttributeWriter& w) {
    w.be32(NFTA_NAT_TYPE, NFT_NAT_DNAT);
    w.be32(NFTA_NAT_FAMILY, std::to_underlying(family));
    w.be32(NFTA_NAT_REG_ADDR_MIN, reg(address));
    if (port.has_value()) w.be32(NFTA_NAT_REG_PROTO_MIN, reg(*port));
  });
}

Rule& Rule::masquerade() {
  return expression("masq", [](AttributeWriter& w) { w.be32(NFTA_MASQ_FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY); });
}

Rule& Rule::redirect(Register port) {
  return expression("redir", [&](AttributeWriter& w) { w.be32(NFTA_REDIR_REG_PROTO_MIN, reg(port)); });
}

Rule& Rule::reject_tcp_reset() {
  return expression("reject", [](AttributeWriter& w) { w.be32(NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST); });
}

Rule& Rule::reject_port_unreachable(Family family) {
  constexpr std::uint8_t kIcmpPortUnreachable = 3;    // RFC 792
  constexpr std::uint8_t kIcmpv6PortUnreachable = 4;  // RFC 4443
  return expression("reject", [&](AttributeWriter& w) {
    w.be32(NFTA_REJECT_TYPE, NFT_REJECT_ICMP_UNREACH);
    w.u8(NFTA_REJECT_ICMP_CODE, family == Family::kIpv6 ? kIcmpv6PortUnreachable : kIcmpPortUnreachable);
  });
}

Rule& Rule::counter() {
  return expression("counter", [](AttributeWriter&) {});
}

Rule& Rule::verdict(const Verdict& verdict) {
  return expression("immediate", [&](AttributeWriter& w) {
    w.be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    w.nest(NFTA_IMMEDIATE_DATA, [&] { write_verdict(w, verdict); });
  });
}

}  // namespace brume::nft
