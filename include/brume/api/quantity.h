// resource.Quantity: exact fixed-point numbers with decimal or binary suffixes.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "brume/base/result.h"

namespace brume::api {

/// An exact number in nano units (what Kubernetes keeps after rounding up) and the family of suffixes it was written
/// in. Magnitudes are capped at 2^63-1 as Kubernetes caps them.
class Quantity {
 public:
  enum class Format : std::uint8_t { kDecimalSi, kBinarySi, kDecimalExponent };
  __extension__ using Int = __int128;

  Quantity() = default;
  /// Whole units.
  explicit Quantity(std::int64_t units, Format format = Format::kDecimalSi);
  static Quantity from_milli(std::int64_t milli, Format format = Format::kDecimalSi);
  static Quantity from_nano(Int nano, Format format = Format::kDecimalSi);
  /// kBadRequest with Kubernetes' text for what is no quantity. Below nano rounds away from zero.
  static Result<Quantity> parse(std::string_view text);

  /// Canonical form, which keeps the family: no fraction, the largest suffix that fits, "500m", "1Gi", "12e6".
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] std::int64_t value() const;        ///< whole units, rounded up; saturates
  [[nodiscard]] std::int64_t milli_value() const;  ///< thousandths, rounded up; saturates
  [[nodiscard]] Int nano_value() const { return nano_; }
  [[nodiscard]] double as_double() const;
  [[nodiscard]] Format format() const { return format_; }
  [[nodiscard]] bool is_zero() const { return nano_ == 0; }
  [[nodiscard]] int sign() const { return nano_ < 0 ? -1 : nano_ > 0 ? 1 : 0; }

  /// A zero takes the other's family, as in Kubernetes.
  Quantity& operator+=(const Quantity& other);
  Quantity& operator-=(const Quantity& other);
  friend Quantity operator+(Quantity a, const Quantity& b) { return a += b; }
  friend Quantity operator-(Quantity a, const Quantity& b) { return a -= b; }
  friend Quantity operator-(const Quantity& a) { return from_nano(-a.nano_, a.format_); }
  /// By number: 1000m == 1.
  friend bool operator==(const Quantity& a, const Quantity& b) { return a.nano_ == b.nano_; }
  friend std::strong_ordering operator<=>(const Quantity& a, const Quantity& b) {
    return a.nano_ < b.nano_   ? std::strong_ordering::less
           : a.nano_ > b.nano_ ? std::strong_ordering::greater
                               : std::strong_ordering::equal;
  }

 private:
  Int nano_ = 0;
  Format format_ = Format::kDecimalSi;
};

/// a / b as Kubernetes' limit ranges reckon it: of thousandths, so that 300m / 100m is 3, and of whole units where
/// those would not fit 63 bits. b is not zero.
[[nodiscard]] double ratio(const Quantity& a, const Quantity& b);

/// Of a JSON string or number; zero for anything else (use where the value was validated).
[[nodiscard]] Quantity quantity_or_zero(std::string_view text);

}  // namespace brume::api
