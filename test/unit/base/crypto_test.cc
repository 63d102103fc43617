// Digests, keys, certificates and metrics of the base library.
#include "brume/base/crypto.h"

#include "brume/base/metrics.h"
#include "brume/base/strings.h"
#include "brume/base/x509.h"
#include "catch.h"

using namespace brume;

TEST_CASE("sha256 and hmac match the published vectors") {
  // FIPS 180-2 appendix B.1, RFC 4231 case 2.
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(hex_encode(hmac_sha256("Jefe", "what do ya want for nothing?")) ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  Sha256 pieces;
  pieces.update("a");
  const std::string early = pieces.hex();
  pieces.update("bc");
  CHECK(early == sha256_hex("a"));
  CHECK(pieces.hex() == sha256_hex("abc"));
  CHECK(constant_time_equal("same", "same"));
  CHECK_FALSE(constant_time_equal("same", "sane"));
  CHECK_FALSE(constant_time_equal("same", "sam"));
}

TEST_CASE("ES256 signatures verify for their key and bytes only") {
  const auto key = PrivateKey::generate();
  REQUIRE(key.has_value());
  const auto signature = key->sign_es256("payload");
  REQUIRE(signature.has_value());
  CHECK(signature->size() == 64);
  CHECK(key->public_key().verify_es256("payload", *signature));
  CHECK_FALSE(key->public_key().verify_es256("payload!", *signature));
  std::string bent = *signature;
  bent[40] = static_cast<char>(bent[40] ^ 1);
  CHECK_FALSE(key->public_key().verify_es256("payload", bent));
  CHECK_FALSE(key->public_key().verify_es256("payload", std::string(64, '\0')));
  CHECK_FALSE(key->public_key().verify_es256("payload", ""));
  const auto other = PrivateKey::generate();
  CHECK_FALSE(other->public_key().verify_es256("payload", *signature));
}

TEST_CASE("keys survive PEM and foreign PEM is refused") {
  const auto key = PrivateKey::generate();
  const auto again = PrivateKey::from_pem(key->to_pem());
  REQUIRE(again.has_value());
  CHECK(again->public_key().to_der() == key->public_key().to_der());
  const auto half = PublicKey::from_pem(key->public_key().to_pem());
  REQUIRE(half.has_value());
  CHECK(half->point().x == key->public_key().point().x);
  CHECK(half->point().x.size() == 32);
  CHECK(PrivateKey::from_pem("garbage").error().code == Code::kInvalid);
  CHECK(PrivateKey::from_pem("").error().code == Code::kInvalid);
  CHECK(PublicKey::from_pem(key->to_pem()).error().code == Code::kInvalid);
}

TEST_CASE("certificates carry what they were issued with") {
  const auto ca_key = PrivateKey::generate();
  const auto leaf_key = PrivateKey::generate();
  const WallTime start = *parse_rfc3339("1970-01-02T00:00:00Z");
  const WallTime end = *parse_rfc3339("2056-01-01T00:00:00Z");
  const auto ca = x509::issue({.purpose = x509::Purpose::kCa,
                               .common_name = "ca",
                               .organizations = {},
                               .dns_names = {},
                               .ips = {},
                               .not_before = start,
                               .not_after = end},
                              ca_key->public_key(), std::nullopt, *ca_key);
  REQUIRE(ca.has_value());
  x509::Spec spec{.purpose = x509::Purpose::kServer,
                  .common_name = "leaf",
                  .organizations = {"a", "b"},
                  .dns_names = {"one", "two,DNS:evil"},
                  .ips = {"10.0.0.1", "::1"},
                  .not_before = start,
                  .not_after = end};
  const auto leaf = x509::issue(spec, leaf_key->public_key(), *ca, *ca_key);
  REQUIRE(leaf.has_value());
  const auto read = x509::parse(*leaf);
  REQUIRE(read.has_value());
  CHECK(read->common_name == "leaf");
  CHECK(read->organizations == std::vector<std::string>{"a", "b"});
  CHECK(read->dns_names == std::vector<std::string>{"one", "two,DNS:evil"});
  CHECK(read->ips == std::vector<std::string>{"10.0.0.1", "::1"});
  CHECK(read->not_before == start);
  CHECK(read->not_after == end);
  CHECK_FALSE(read->is_ca);
  CHECK(x509::parse(*ca)->is_ca);
  CHECK(x509::signed_by(*leaf, *ca));
  CHECK_FALSE(x509::signed_by(*ca, *leaf));
  CHECK(x509::is_for(*leaf, leaf_key->public_key()));
  CHECK_FALSE(x509::is_for(*leaf, ca_key->public_key()));
  // A CA of the same name but another key did not sign it.
  const auto imposter = x509::issue({.purpose = x509::Purpose::kCa,
                                     .common_name = "ca",
                                     .organizations = {},
                                     .dns_names = {},
                                     .ips = {},
                                     .not_before = start,
                                     .not_after = end},
                                    leaf_key->public_key(), std::nullopt, *leaf_key);
  CHECK_FALSE(x509::signed_by(*leaf, *imposter));
  spec.ips = {"10.0.0.256"};
  CHECK(x509::issue(spec, leaf_key->public_key(), *ca, *ca_key).error().code == Code::kInvalid);
  CHECK(x509::parse("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").error().code == Code::kInvalid);
}

TEST_CASE("metrics print as Prometheus text") {
  metrics::Registry registry;
  registry.counters("b_total", "Requests \\ by verb.", {"verb"}).with({"get \"x\""}).add(3);
  registry.gauge("a", "A gauge.").set(1.5);
  auto& histogram = registry.histogram("c_seconds", "Durations.", {0.1, 1});
  histogram.observe(0.1);
  histogram.observe(0.5);
  histogram.observe(7);
  registry.gauge_from("d", "Asked for.", [] { return 42.0; });
  CHECK(registry.text() ==
        "# HELP a A gauge.\n# TYPE a gauge\na 1.5\n"
        "# HELP b_total Requests \\\\ by verb.\n# TYPE b_total counter\nb_total{verb=\"get \\\"x\\\"\"} 3\n"
        "# HELP c_seconds Durations.\n# TYPE c_seconds histogram\n"
        "c_seconds_bucket{le=\"0.1\"} 1\nc_seconds_bucket{le=\"1\"} 2\nc_seconds_bucket{le=\"+Inf\"} 3\n"
        "c_seconds_sum 7.6\nc_seconds_count 3\n"
        "# HELP d Asked for.\n# TYPE d gauge\nd 42\n");
  CHECK(registry.counters("b_total", "", {"verb"}).with({"get \"x\""}).value() == 3);
}
