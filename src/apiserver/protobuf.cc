#include "protobuf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <optional>

#include "brume/api/schema.h"
#include "brume/base/strings.h"
#include "brume/base/time.h"

namespace brume::apiserver {

namespace {

using api::Field;
using api::Kind;

constexpr std::string_view kMagic("k8s\0", 4);
constexpr int kMaxDepth = 64;  // no Kubernetes type nests deeper

/// One field on the wire.
struct Item {
  std::uint32_t number = 0;
  std::uint64_t value = 0;  // varint and fixed
  std::string_view bytes;   // length-delimited
  bool delimited = false;
};

// Reads the fields of one message in order.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  [[nodiscard]] bool done() const { return bytes_.empty(); }

  std::optional<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !bytes_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes_[0]);
      bytes_.remove_prefix(1);
      value |= std::uint64_t{byte & 0x7FU} << shift;
      if ((byte & 0x80U) == 0) return value;
    }
    return std::nullopt;
  }

  std::optional<Item> next() {
    const auto tag = varint();
    if (!tag) return std::nullopt;
    Item item;
    item.number = static_cast<std::uint32_t>(*tag >> 3);
    switch (*tag & 7) {
      case 0:
        if (const auto value = varint()) {
          item.value = *value;
          return item;
        }
        return std::nullopt;
      case 1: return fixed(item, 8);
      case 5: return fixed(item, 4);
      case 2: {
        const auto size = varint();
        if (!size || *size > bytes_.size()) return std::nullopt;
        item.bytes = bytes_.substr(0, *size);
        item.delimited = true;
        bytes_.remove_prefix(*size);
        return item;
      }
      default: return std::nullopt;  // groups are not used
    }
  }

 private:
  std::optional<Item> fixed(Item item, std::size_t size) {
    if (bytes_.size() < size) return std::nullopt;
    for (std::size_t i = 0; i < size; ++i) {
      item.value |= std::uint64_t{static_cast<unsigned char>(bytes_[i])} << (8 * i);
    }
    bytes_.remove_prefix(size);
    return item;
  }
  std::string_view bytes_;
};

std::unexpected<Error> broken(std::string_view what) {
  return fail(Code::kBadRequest, "couldn't decode the protobuf body: " + std::string(what));
}

// Go writes plain (not pointer) numbers and flags even when they are zero; as JSON it leaves them out. The tables do
// not tell the two apart, so these names do: plain fields whose zero means absence.
constexpr std::array<std::string_view, 23> kPlainFields = {"count",
                                                           "failureThreshold",
                                                           "generation",
                                                           "globalDefault",
                                                           "healthCheckNodePort",
                                                           "hostIPC",
                                                           "hostNetwork",
                                                           "hostPID",
                                                           "hostPort",
                                                           "initialDelaySeconds",
                                                           "minReadySeconds",
                                                           "nodePort",
                                                           "observedGeneration",
                                                           "paused",
                                                           "periodSeconds",
                                                           "publishNotReadyAddresses",
                                                           "readOnly",
                                                           "stdin",
                                                           "stdinOnce",
                                                           "successThreshold",
                                                           "timeoutSeconds",
                                                           "tty",
                                                           "unschedulable"};

// The other way round: of texts, which Go writes when they are plain and empty, these are pointers, and "" is a choice.
struct EmptyText {
  std::string_view type, field;
};
constexpr std::array<EmptyText, 3> kEmptyTexts = {
    {{"io.k8s.api.core.v1.PersistentVolumeClaimSpec", "storageClassName"},
     {"io.k8s.api.core.v1.PersistentVolumeClaimSpec", "volumeAttributesClassName"},
     {"io.k8s.api.discovery.v1.EndpointPort", "name"}}};

bool empty_is_said(const api::Type& type, const Field& field) {
  return field.always || std::any_of(kEmptyTexts.begin(), kEmptyTexts.end(), [&](const EmptyText& text) {
           return text.type == type.name && text.field == field.name;
         });
}

bool zero_is_absent(const Field& field) {
  if (field.always) return false;
  return field.zero_unset || std::find(kPlainFields.begin(), kPlainFields.end(), field.name) != kPlainFields.end();
}

Result<Json> decode_message(const api::Type& type, std::string_view bytes, int depth);

// Small messages that stand for one JSON value: Time, Duration, Quantity, IntOrString, RawExtension.
struct Scalars {
  std::uint64_t numbers[4] = {};
  std::string_view texts[4] = {};
};

std::optional<Scalars> read_scalars(std::string_view bytes) {
  Scalars out;
  Reader reader(bytes);
  while (!reader.done()) {
    const auto item = reader.next();
    if (!item) return std::nullopt;
    if (item->number >= 4) continue;
    out.numbers[item->number] = item->value;
    out.texts[item->number] = item->bytes;
  }
  return out;
}

Json time_value(const Scalars& in, bool micro) {
  const auto seconds = static_cast<std::int64_t>(in.numbers[1]);
  return format_moment(Moment::from_unix(seconds, static_cast<std::int32_t>(in.numbers[2])), micro);
}

// Go's Duration as text; its JSON form takes any unit, so whole nanoseconds need no others.
Json duration_value(std::int64_t nanos) {
  if (nanos % 1'000'000'000 == 0) return std::to_string(nanos / 1'000'000'000) + "s";
  return std::to_string(nanos) + "ns";
}

// A discarded value (nlohmann's) means that the field counts as absent.
const Json kAbsent = Json(Json::value_t::discarded);

Result<Json> decode_value(const Field& field, const Item& item, int depth) {
  switch (field.kind) {
    case Kind::kString: return Json(std::string(item.bytes));
    case Kind::kInt32: return Json(static_cast<std::int64_t>(static_cast<std::int32_t>(item.value)));
    case Kind::kInt64: return Json(static_cast<std::int64_t>(item.value));
    case Kind::kBool: return Json(item.value != 0);
    case Kind::kDouble: return Json(std::bit_cast<double>(item.value));
    case Kind::kBytes: return Json(base64_encode(item.bytes));
    case Kind::kObject:
      if (field.type == nullptr) return kAbsent;
      return decode_message(*field.type, item.bytes, depth + 1);
    case Kind::kList: {  // a list inside a map is a message with `items`
      Json list = Json::array();
      Reader reader(item.bytes);
      while (!reader.done()) {
        const auto part = reader.next();
        if (!part) return broken("a list is cut");
        if (part->number != 1) continue;
        BRUME_TRY(Json value, decode_value(*field.item, *part, depth + 1));
        if (!value.is_discarded()) list.push_back(std::move(value));
      }
      return list;
    }
    case Kind::kMap: return kAbsent;  // maps come entry by entry
    default: break;
  }
  const auto in = read_scalars(item.bytes);
  if (!in) return broken("a value is cut");
  switch (field.kind) {
    case Kind::kTime: return item.bytes.empty() ? kAbsent : time_value(*in, false);
    case Kind::kMicroTime: return item.bytes.empty() ? kAbsent : time_value(*in, true);
    case Kind::kDuration: return duration_value(static_cast<std::int64_t>(in->numbers[1]));
    case Kind::kQuantity: return in->texts[1].empty() ? kAbsent : Json(std::string(in->texts[1]));
    case Kind::kIntOrString:
      if (in->numbers[1] == 1) return Json(std::string(in->texts[3]));
      return Json(static_cast<std::int64_t>(static_cast<std::int32_t>(in->numbers[2])));
    case Kind::kAny:
      if (in->texts[1].empty()) return kAbsent;
      return parse_json(in->texts[1]);
    default: return kAbsent;
  }
}

Status add_map_entry(const Field& field, std::string_view bytes, Json& map, int depth) {
  if (!map.is_object()) map = Json::object();
  Reader reader(bytes);
  std::string key;
  std::optional<Item> value;
  while (!reader.done()) {
    const auto part = reader.next();
    if (!part) return broken("a map entry is cut");
    if (part->number == 1) key = part->bytes;
    if (part->number == 2) value = *part;
  }
  Item empty;
  BRUME_TRY(Json decoded, decode_value(*field.item, value ? *value : empty, depth + 1));
  if (!decoded.is_discarded()) map[key] = std::move(decoded);
  return {};
}

Status add_field(const api::Type& type, const Field& field, const Item& item, Json& object, int depth) {
  const std::string name(field.name);
  if (field.kind == Kind::kMap) return add_map_entry(field, item.bytes, object[name], depth);
  if (field.kind == Kind::kList) {
    Json& list = object[name];
    if (!list.is_array()) list = Json::array();
    const bool number = field.item->kind == Kind::kInt32 || field.item->kind == Kind::kInt64;
    if (number && item.delimited) {  // packed
      Reader packed(item.bytes);
      while (!packed.done()) {
        const auto value = packed.varint();
        if (!value) return broken("a packed list is cut");
        list.push_back(static_cast<std::int64_t>(*value));
      }
      return {};
    }
    BRUME_TRY(Json value, decode_value(*field.item, item, depth));
    if (!value.is_discarded()) list.push_back(std::move(value));
    return {};
  }
  BRUME_TRY(Json value, decode_value(field, item, depth));
  const bool empty_text = value.is_string() && str(value).empty() && !empty_is_said(type, field);
  const bool zero = (value.is_number_integer() && value == 0) || value == false;
  if (value.is_discarded() || empty_text || (zero && zero_is_absent(field))) return {};
  object[name] = std::move(value);
  return {};
}

// `outer`: the embedded messages that were entered, outermost first, whose fields Go inlines into this object.
Status decode_into(const api::Type& type, std::string_view bytes, std::array<std::uint32_t, 2> outer, Json& object,
                   int depth) {
  if (depth > kMaxDepth) return broken("it nests too deeply");
  const int level = outer[0] == 0 ? 0 : outer[1] == 0 ? 1 : 2;
  Reader reader(bytes);
  while (!reader.done()) {
    const auto item = reader.next();
    if (!item) return broken("a message is cut");
    bool entered = false;
    for (const Field& field : type.fields) {
      const std::uint32_t path[2] = {field.proto_outer[0], field.proto_outer[1]};
      if (field.proto == item->number && path[0] == outer[0] && path[1] == outer[1]) {
        BRUME_CHECK(add_field(type, field, *item, object, depth));
        break;
      }
      const bool inside = level < 2 && path[level] == item->number && (level == 0 || path[0] == outer[0]);
      if (inside && item->delimited && !entered) {
        entered = true;
        auto inner = outer;
        inner[static_cast<std::size_t>(level)] = item->number;
        BRUME_CHECK(decode_into(type, item->bytes, inner, object, depth + 1));
        break;
      }
    }
  }
  return {};
}

Result<Json> decode_message(const api::Type& type, std::string_view bytes, int depth) {
  Json object = Json::object();
  BRUME_CHECK(decode_into(type, bytes, {0, 0}, object, depth));
  return object;
}

}  // namespace

Result<Json> decode_protobuf(std::string_view body) {
  if (!body.starts_with(kMagic)) return broken("it does not start with the magic number");
  const auto envelope = read_scalars(body.substr(kMagic.size()));
  if (!envelope) return broken("the envelope is cut");
  const auto meta = read_scalars(envelope->texts[1]);
  if (!meta) return broken("the type is cut");
  const std::string_view api_version = meta->texts[1], kind = meta->texts[2];
  const api::Type* type = api::find_type(api_version, kind);
  if (type == nullptr) {
    return broken("no kind \"" + std::string(kind) + "\" is registered for version \"" + std::string(api_version) +
                  "\"");
  }
  BRUME_TRY(Json object, decode_message(*type, envelope->texts[2], 0));
  object["apiVersion"] = std::string(api_version);
  object["kind"] = std::string(kind);
  return object;
}

}  // namespace brume::apiserver
