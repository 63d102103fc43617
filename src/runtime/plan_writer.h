// Writes launch plans and frames for the shim. Layouts: src/runtime/shim/plan.h.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shim/plan.h"

namespace brume::runtime {

/// The fields of a payload, in order.
class FieldWriter {
 public:
  FieldWriter& u32(std::uint32_t value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  FieldWriter& u64(std::uint64_t value) {
    return u32(static_cast<std::uint32_t>(value)).u32(static_cast<std::uint32_t>(value >> 32));
  }
  FieldWriter& bytes(std::string_view value) {
    u32(static_cast<std::uint32_t>(value.size()));
    out_.append(value);
    out_.append((4 - value.size() % 4) % 4, '\0');
    return *this;
  }
  /// Up to an inner NUL, if there is one: callers refuse those before.
  FieldWriter& str(std::string_view value) {
    std::string text(value.substr(0, value.find('\0')));
    text.push_back('\0');
    return bytes(text);
  }
  FieldWriter& strings(std::span<const std::string> values) {
    u32(static_cast<std::uint32_t>(values.size()));
    for (const std::string& value : values) str(value);
    return *this;
  }
  FieldWriter& numbers(std::span<const std::uint32_t> values) {
    u32(static_cast<std::uint32_t>(values.size()));
    for (std::uint32_t value : values) u32(value);
    return *this;
  }
  [[nodiscard]] const std::string& data() const { return out_; }

 private:
  std::string out_;
};

/// A whole plan.
class PlanWriter {
 public:
  void add(shim::Op op, const FieldWriter& fields = {}) {
    shim::OpHeader header{op, static_cast<std::uint32_t>(fields.data().size())};
    ops_.append(reinterpret_cast<const char*>(&header), sizeof header);
    ops_ += fields.data();
    ++count_;
  }
  [[nodiscard]] std::string finish(std::uint32_t flags, std::uint64_t clone_flags) const {
    shim::PlanHeader header{};
    header.magic = shim::kPlanMagic;
    header.version = shim::kPlanVersion;
    header.size = static_cast<std::uint32_t>(sizeof header + ops_.size());
    header.flags = flags;
    header.clone_flags = clone_flags;
    header.op_count = count_;
    std::string out(reinterpret_cast<const char*>(&header), sizeof header);
    return out + ops_;
  }

 private:
  std::string ops_;
  std::uint32_t count_ = 0;
};

}  // namespace brume::runtime
