#include <limits>
#include <random>

#include "brume/api/quantity.h"
#include "catch.h"

using brume::api::Quantity;

namespace {
std::string canonical(std::string_view text) {
  auto quantity = Quantity::parse(text);
  return quantity ? quantity->to_string() : "error: " + quantity.error().message;
}
}  // namespace

TEST_CASE("quantities take their canonical form and keep their family") {
  const std::pair<const char*, const char*> kCases[] = {
      {"0", "0"},           {"0.5", "500m"},
      {"1024Mi", "1Gi"},    {"1000m", "1"},
      {"1500m", "1500m"},   {"1k", "1k"},
      {"1000k", "1M"},      {"100", "100"},
      {"1000", "1k"},       {"0.5Gi", "512Mi"},
      {"1.5Gi", "1536Mi"},  {"1Ki", "1Ki"},
      {"512", "512"},       {"1e3", "1e3"},
      {"12E6", "12e6"},     {"5e-1", "500e-3"},
      {"-1", "-1"},         {"+5", "5"},
      {"-0.5", "-500m"},    {".5", "500m"},
      {"1.", "1"},          {"100n", "100n"},
      {"0.1n", "1n"},       {"1n", "1n"},
      {"3u", "3u"},         {"0.0001Mi", "104857600u"},
      {"1023Ki", "1023Ki"}, {"1E", "1E"},
      {"1Ei", "1Ei"},       {"2Pi", "2Pi"},
      {"0Mi", "0"},         {"1000Ki", "1000Ki"},
      {"0001", "1"},        {"1.000000000001", "1000000001n"},
      {"1Gi", "1Gi"},       {"1T", "1T"},
      {"1Ti", "1Ti"},       {"10P", "10P"},
      {"1e0", "1"},
  };
  for (const auto& [text, wanted] : kCases) {
    INFO(text);
    CHECK(canonical(text) == wanted);
  }
}

TEST_CASE("what is no quantity is refused with Kubernetes' words") {
  for (const char* text : {"", "x", "1.2.3", "--1", ".", "+", "1 Gi", " 1", "1GB", "abc", "1,5"}) {
    INFO(text);
    auto quantity = Quantity::parse(text);
    REQUIRE(!quantity.has_value());
    CHECK(quantity.error().code == brume::Code::kBadRequest);
  }
  CHECK(Quantity::parse("x").error().message ==
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
  for (const char* text : {"1i", "1Mii", "1e", "1e+", "1mm", "1K", "1Kii", "1ee5", "1u5"}) {
    INFO(text);
    REQUIRE(!Quantity::parse(text).has_value());
    CHECK(Quantity::parse(text).error().message == "unable to parse quantity's suffix");
  }
}

TEST_CASE("quantities are capped and never overflow") {
  CHECK(Quantity::parse("9223372036854775807")->value() == std::numeric_limits<std::int64_t>::max());
  CHECK(Quantity::parse("1e100")->value() == std::numeric_limits<std::int64_t>::max());
  CHECK(Quantity::parse("99999999999999999999999999999Ei")->value() == std::numeric_limits<std::int64_t>::max());
  CHECK(Quantity::parse("-1e999999999")->value() == -std::numeric_limits<std::int64_t>::max());
  CHECK(Quantity::parse("1e-999999999")->to_string() == "1e-9");
  auto top = *Quantity::parse("1e100");
  CHECK((top + top).value() == std::numeric_limits<std::int64_t>::max());
  CHECK(top.milli_value() == std::numeric_limits<std::int64_t>::max());
}

TEST_CASE("values round up") {
  CHECK(Quantity::parse("1500m")->value() == 2);
  CHECK(Quantity::parse("1m")->value() == 1);
  CHECK(Quantity::parse("1u")->milli_value() == 1);
  CHECK(Quantity::parse("100m")->milli_value() == 100);
  CHECK(Quantity::parse("2")->milli_value() == 2000);
  CHECK(Quantity::parse("64Mi")->value() == 64 * 1024 * 1024);
}

TEST_CASE("quantities compare by number and add up") {
  CHECK(*Quantity::parse("1000m") == *Quantity::parse("1"));
  CHECK(*Quantity::parse("1Ki") > *Quantity::parse("1k"));
  CHECK(*Quantity::parse("-1") < Quantity());
  CHECK((*Quantity::parse("500m") + *Quantity::parse("0.5")).to_string() == "1");
  CHECK((*Quantity::parse("1Gi") - *Quantity::parse("512Mi")).to_string() == "512Mi");
  CHECK((Quantity() + *Quantity::parse("1Gi")).to_string() == "1Gi");
  CHECK((-*Quantity::parse("1Gi")).to_string() == "-1Gi");
  CHECK(Quantity(5).to_string() == "5");
  CHECK(Quantity::from_milli(1500).to_string() == "1500m");
  CHECK(Quantity(2048, Quantity::Format::kBinarySi).to_string() == "2Ki");
}

TEST_CASE("a canonical form reads back as the same number") {
  std::mt19937_64 random(7);
  for (int i = 0; i < 2000; ++i) {
    auto format = static_cast<Quantity::Format>(random() % 3);
    auto quantity = Quantity::from_nano(static_cast<std::int64_t>(random()) >> (random() % 60), format);
    auto back = Quantity::parse(quantity.to_string());
    REQUIRE(back.has_value());
    CHECK(*back == quantity);
    CHECK(back->to_string() == quantity.to_string());
  }
}
