#include <set>
#include "brume/base/json.h"
#include "brume/base/random.h"
#include "brume/base/strings.h"
#include "brume/base/time.h"

#include "catch.h"

using namespace brume;

TEST_CASE("base64 follows RFC 4648's vectors") {
  CHECK(base64_encode("foobar") == "Zm9vYmFy");
  CHECK(base64_encode("fooba") == "Zm9vYmE=");
  CHECK(base64_decode("Zm9vYg==") == "foob");
  CHECK_FALSE(base64_decode("Zm9vYg="));
  CHECK_FALSE(base64_decode("Zm9*"));
  CHECK(base64url_decode(base64url_encode("\xff\xfe\xfd\xfc")) == "\xff\xfe\xfd\xfc");
}

TEST_CASE("RFC 3339 times are read and written") {
  const auto time = parse_rfc3339("2024-02-29T23:59:59.123456789+02:00");
  REQUIRE(time);
  CHECK(format_rfc3339_nano(*time) == "2024-02-29T21:59:59.123456789Z");
  CHECK(format_rfc3339(*time) == "2024-02-29T21:59:59Z");
  CHECK_FALSE(parse_rfc3339("2023-02-29T00:00:00Z"));
  // Years that a count of nanoseconds cannot hold.
  for (const auto* text :
       {"0001-01-01T00:00:02.000000Z", "9999-12-31T23:59:59.999999Z", "0000-01-01T00:00:00.000000Z"}) {
    CHECK(format_moment(*parse_moment(text), true) == text);
  }
  CHECK(format_rfc3339(*parse_rfc3339("0001-01-01T00:00:02Z")).starts_with("1800-"));
  CHECK(format_rfc3339(*parse_rfc3339("9999-12-31T23:59:59Z")).starts_with("2149-"));
  CHECK_FALSE(parse_moment("9999-12-31T23:59:59-01:00"));
  CHECK_FALSE(parse_moment("0000-01-01T00:00:00+01:00"));
  CHECK(format_moment(Moment::from_unix(-62135596798, 0), true) == "0001-01-01T00:00:02.000000Z");
  CHECK(format_moment(Moment::from_unix(1, -1), true) == "1970-01-01T00:00:00.999999Z");
  CHECK(format_moment(Moment::from_unix(std::numeric_limits<std::int64_t>::max(), -1), false).starts_with("9999-"));
  CHECK(format_moment(Moment::from_unix(std::numeric_limits<std::int64_t>::min(), 5), false).starts_with("0000-"));
  CHECK_FALSE(parse_rfc3339("2023-02-28 00:00:00Z"));
  CHECK_FALSE(parse_rfc3339("2023-02-28T00:00:00"));
}

TEST_CASE("JSON beyond the depth limit is refused") {
  CHECK(parse_json("{\"a\":[1,2,{\"b\":null}]}"));
  CHECK_FALSE(parse_json(std::string(600, '[') + std::string(600, ']')));
  CHECK_FALSE(parse_json("{\"a\":\"\xff\"}"));
  CHECK_FALSE(parse_json("{} x"));
}

TEST_CASE("JSON strings are escaped and bad UTF-8 replaced") {
  std::string out;
  append_json_string(out, "a\"\n\x01\xff");
  CHECK(out == "\"a\\\"\\n\\u0001\xEF\xBF\xBD\"");
}

TEST_CASE("canonical JSON is nlohmann's compact form") {
  const Json values = Json::array({nullptr,
                                   true,
                                   false,
                                   0,
                                   -1,
                                   std::numeric_limits<std::int64_t>::min(),
                                   std::numeric_limits<std::uint64_t>::max(),
                                   1.0,
                                   -0.0,
                                   0.1,
                                   1e300,
                                   1.5e-9,
                                   "",
                                   "plain",
                                   "q\"\\/\b\f\n\r\t\x01\x1f\x7f",
                                   "\u00e4\u20ac\U0001f600 end",
                                   Json::object(),
                                   Json::array(),
                                   {{"b", {1, {{"c", Json::array()}}}}, {"a\"", Json::object()}, {"", "x"}}});
  CHECK(dump_json(values) == values.dump());
  for (const Json& value : values) CHECK(dump_json(value) == value.dump());
  CHECK(dump_json("a\xff\xc3") == "\"a\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

TEST_CASE("uids are version 4") {
  const auto uid = new_uid();
  CHECK(uid.size() == 36);
  CHECK(uid[14] == '4');
  std::set<std::string> all;
  for (int i = 0; i < 1000; ++i) all.insert(new_uid());
  CHECK(all.size() == 1000);
}
