#include "brume/api/quantity.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace brume::api {

namespace {

using Int = Quantity::Int;

constexpr Int kNano = 1'000'000'000;
constexpr std::int64_t kMax64 = std::numeric_limits<std::int64_t>::max();
// Kubernetes caps at 2^63-1 whole units.
constexpr Int kCap = Int(kMax64) * kNano;

constexpr std::string_view kFormatError =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
constexpr std::string_view kSuffixError = "unable to parse quantity's suffix";

Int clamp(Int nano) { return std::clamp<Int>(nano, -kCap, kCap); }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct Suffix {
  Quantity::Format format = Quantity::Format::kDecimalSi;
  int base10 = 0;  // power of ten
  int base2 = 0;   // power of two
};

std::optional<Suffix> parse_suffix(std::string_view text) {
  using F = Quantity::Format;
  if (text.empty()) return Suffix{};
  constexpr std::string_view kBinary = "KMGTPE";
  if (text.size() == 2 && text[1] == 'i') {
    auto power = kBinary.find(text[0]);
    if (power == std::string_view::npos) return std::nullopt;
    return Suffix{F::kBinarySi, 0, 10 * (static_cast<int>(power) + 1)};
  }
  if (text.size() == 1) {
    constexpr std::string_view kDecimal = "num kMGTPE";
    auto power = kDecimal.find(text[0]);
    if (power == std::string_view::npos || text[0] == ' ') return std::nullopt;
    return Suffix{F::kDecimalSi, 3 * static_cast<int>(power) - 9, 0};
  }
  if (text[0] != 'e' && text[0] != 'E') return std::nullopt;
  text.remove_prefix(1);
  bool negative = text[0] == '-';
  if (text[0] == '-' || text[0] == '+') text.remove_prefix(1);
  if (text.empty() || text.size() > 18 || !std::all_of(text.begin(), text.end(), is_digit)) return std::nullopt;
  std::int64_t exponent = 0;
  for (char c : text) exponent = std::min<std::int64_t>(exponent * 10 + (c - '0'), 100'000);
  return Suffix{F::kDecimalExponent, static_cast<int>(negative ? -exponent : exponent), 0};
}

// Digits (integer and fraction run together) times 10^scale times 2^shift, as nano units rounded up and capped.
Int to_nano(std::string_view whole, std::string_view fraction, int base10, int base2) {
  // Significant digits beyond what 127 bits hold (37 and a bit, less those that the shift takes) only decide whether
  // there is something to round up.
  const std::size_t max_digits = 37 - static_cast<std::size_t>((base2 * 30103 + 99999) / 100000);
  std::string digits(whole);
  digits += fraction;
  auto first = digits.find_first_not_of('0');
  if (first == std::string::npos) return 0;
  digits.erase(0, first);
  int scale = base10 + 9 - static_cast<int>(std::min<std::size_t>(fraction.size(), 1'000'000));
  bool rest = false;
  if (digits.size() > max_digits) {
    rest = digits.find_first_not_of('0', max_digits) != std::string::npos;
    scale += static_cast<int>(digits.size() - max_digits);
    digits.resize(max_digits);
  }
  Int value = 0;
  for (char c : digits) value = value * 10 + (c - '0');
  value <<= base2;
  for (; scale > 0; --scale) {
    if (value > kCap) return kCap;
    value *= 10;
  }
  for (; scale < 0; ++scale) {
    rest = rest || value % 10 != 0;
    value /= 10;
    if (value == 0) break;
  }
  return std::min(value + (rest ? 1 : 0), kCap);
}

std::string int_to_string(Int value) {
  if (value == 0) return "0";
  bool negative = value < 0;
  std::string out;
  for (; value != 0; value /= 10)
    out += static_cast<char>('0' + static_cast<int>(negative ? -(value % 10) : value % 10));
  if (negative) out += '-';
  std::reverse(out.begin(), out.end());
  return out;
}

std::int64_t divide_up(Int nano, Int unit) {
  Int whole = nano / unit;
  // Kubernetes rounds away from zero here.
  if (nano % unit != 0) whole += nano > 0 ? 1 : -1;
  return static_cast<std::int64_t>(std::clamp<Int>(whole, std::numeric_limits<std::int64_t>::min(), kMax64));
}

std::string decimal_form(Int nano, bool exponent_form) {
  // The largest power of 1000 that divides it: n u m, none, k M G T P E.
  int power = -3;
  while (power < 6 && nano % 1000 == 0) {
    nano /= 1000;
    ++power;
  }
  std::string out = int_to_string(nano);
  if (power == 0) return out;
  if (exponent_form) return out + "e" + std::to_string(power * 3);
  return out + "num kMGTPE"[power + 3];
}

std::string binary_form(Int units) {
  int power = 0;
  while (power < 6 && units % 1024 == 0) {
    units /= 1024;
    ++power;
  }
  std::string out = int_to_string(units);
  if (power > 0) (out += " KMGTPE"[power]) += 'i';
  return out;
}

}  // namespace

Quantity::Quantity(std::int64_t units, Format format) : nano_(clamp(Int(units) * kNano)), format_(format) {}

Quantity Quantity::from_milli(std::int64_t milli, Format format) { return from_nano(Int(milli) * 1'000'000, format); }

Quantity Quantity::from_nano(Int nano, Format format) {
  Quantity quantity;
  quantity.nano_ = clamp(nano);
  quantity.format_ = format;
  return quantity;
}

Result<Quantity> Quantity::parse(std::string_view text) {
  if (text.empty()) return fail(Code::kBadRequest, std::string(kFormatError));
  std::string_view rest = text;
  bool negative = rest[0] == '-';
  if (rest[0] == '-' || rest[0] == '+') rest.remove_prefix(1);
  auto take_digits = [&rest] {
    auto end = std::find_if_not(rest.begin(), rest.end(), is_digit);
    auto taken = rest.substr(0, static_cast<std::size_t>(end - rest.begin()));
    rest.remove_prefix(taken.size());
    return taken;
  };
  auto whole = take_digits();
  std::string_view fraction;
  if (!rest.empty() && rest[0] == '.') {
    rest.remove_prefix(1);
    fraction = take_digits();
  }
  if (whole.empty() && fraction.empty()) return fail(Code::kBadRequest, std::string(kFormatError));
  if (rest.find_first_not_of("eEinumkKMGTP0123456789+-") != std::string_view::npos) {
    return fail(Code::kBadRequest, std::string(kFormatError));
  }
  auto suffix = parse_suffix(rest);
  if (!suffix) return fail(Code::kBadRequest, std::string(kSuffixError));
  Int nano = to_nano(whole, fraction, suffix->base10, suffix->base2);
  return from_nano(negative ? -nano : nano, suffix->format);
}

std::string Quantity::to_string() const {
  if (nano_ == 0) return "0";
  switch (format_) {
    case Format::kDecimalExponent: return decimal_form(nano_, true);
    case Format::kBinarySi:
      // Below 1 Ki, or with a fraction, the decimal family says it better.
      if (nano_ % kNano != 0 || (nano_ < 1024 * kNano && nano_ > -1024 * kNano)) return decimal_form(nano_, false);
      return binary_form(nano_ / kNano);
    case Format::kDecimalSi: break;
  }
  return decimal_form(nano_, false);
}

std::int64_t Quantity::value() const { return divide_up(nano_, kNano); }
std::int64_t Quantity::milli_value() const { return divide_up(nano_, 1'000'000); }
double Quantity::as_double() const { return static_cast<double>(nano_) / 1e9; }

double ratio(const Quantity& a, const Quantity& b) {
  // resource.MaxMilliValue: what can still be told in thousandths.
  constexpr std::int64_t kMaxMilliValue = std::numeric_limits<std::int64_t>::max() / 1000;
  const bool fine = a.value() <= kMaxMilliValue && b.value() <= kMaxMilliValue;
  const auto number = [fine](const Quantity& q) { return static_cast<double>(fine ? q.milli_value() : q.value()); };
  return number(a) / number(b);
}

Quantity& Quantity::operator+=(const Quantity& other) {
  if (nano_ == 0) format_ = other.format_;
  nano_ = clamp(nano_ + other.nano_);
  return *this;
}

Quantity& Quantity::operator-=(const Quantity& other) {
  if (nano_ == 0) format_ = other.format_;
  nano_ = clamp(nano_ - other.nano_);
  return *this;
}

Quantity quantity_or_zero(std::string_view text) {
  auto quantity = Quantity::parse(text);
  return quantity ? *quantity : Quantity();
}

}  // namespace brume::api
