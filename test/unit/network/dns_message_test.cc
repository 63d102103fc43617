#include "dns_message.h"

#include "brume/base/random.h"
#include "catch.h"
#include "dns_cache.h"
#include "dns_forwarder.h"

using namespace brume;
using namespace brume::network::dns;

namespace {

Query query(const std::string& name, Type type) {
  Query q;
  q.id = 0x1234;
  q.recursion_desired = true;
  q.name = *Name::parse(name);
  q.type = static_cast<std::uint16_t>(type);
  q.klass = kClassIn;
  return q;
}

/// A header with one question, then `question`.
std::string message(const std::string& question, std::uint8_t additional = 0) {
  std::string head("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00", 11);
  return head + static_cast<char>(additional) + question;
}
const std::string kTail("\x00\x01\x00\x01", 4);

}  // namespace

TEST_CASE("names") {
  CHECK(Name::parse("web.default.svc.cluster.local.")->str() == "web.default.svc.cluster.local");
  CHECK(Name::parse("")->wire() == std::string(1, '\0'));
  CHECK(Name::parse("WeB.Example")->lower() == *Name::parse("web.example"));
  CHECK(!Name::parse("a..b"));
  CHECK(!Name::parse(".a"));
  CHECK(!Name::parse("a.."));
  CHECK(!Name::parse(std::string(64, 'a')));
  CHECK(Name::parse(std::string(63, 'a')));
  std::string longest;
  for (int i = 0; i < 127; ++i) longest += "a.";
  CHECK(Name::parse(longest));
  CHECK(!Name::parse(longest + "a"));
  CHECK(Name::parse("a.cluster.local")->within(*Name::parse("cluster.local")));
  CHECK(Name::parse("cluster.local")->within(*Name::parse("cluster.local")));
  CHECK(!Name::parse("acluster.local")->within(*Name::parse("cluster.local")));
  CHECK(!Name::parse("local")->within(*Name::parse("cluster.local")));
  // A label that contains what looks like the zone's wire form is not within the zone.
  CHECK(!Name::from_wire(std::string("\x05"
                                     "a\x03"
                                     "com"
                                     "\0",
                                     7))
             .within(*Name::parse("com")));
  CHECK(Name::from_wire(std::string("\x03"
                                    "a.b"
                                    "\0",
                                    5))
            .str() == "a\\046b");
}

TEST_CASE("queries are read, and what is broken is refused") {
  std::string name(
      "\x03web\x07"
      "default\x00",
      13);
  auto good = parse_query(message(name + kTail));
  REQUIRE(good.has_value());
  CHECK(good->name.str() == "web.default");
  CHECK(good->id == 0x1234);
  CHECK(good->recursion_desired);
  CHECK(good->udp_size == 512);
  SECTION("EDNS") {
    std::string opt("\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x00", 11);
    auto edns = parse_query(message(name + kTail + opt, 1));
    REQUIRE(edns.has_value());
    CHECK(edns->edns);
    CHECK(edns->dnssec_ok);
    CHECK(edns->udp_size == kMostUdpSize);
    CHECK(!parse_query(message(name + kTail + opt + opt, 2)).has_value());
    CHECK(!parse_query(message(name + kTail + opt.substr(0, 9), 1)).has_value());
  }
  SECTION("broken") {
    CHECK(parse_query("").error().code == Code::kForbidden);
    CHECK(parse_query(std::string(11, '\0')).error().code == Code::kForbidden);
    CHECK(parse_query(std::string("\x12\x34\x80\x00\x00\x01\0\0\0\0\0\0", 12)).error().code == Code::kForbidden);
    CHECK(parse_query(std::string("\x12\x34\x01\x00\x00\x02\0\0\0\0\0\0", 12)).error().code == Code::kBadRequest);
    for (std::size_t cut = 0; cut < name.size() + 4; ++cut) {
      CHECK(parse_query(message((name + kTail).substr(0, cut))).error().code == Code::kBadRequest);
    }
    CHECK(!parse_query(message(std::string("\xc0\x0c", 2) + kTail)).has_value());  // points to itself
    CHECK(!parse_query(message(std::string("\x01"
                                           "a\xc0\x0c",
                                           4) +
                               kTail))
               .has_value());                                                      // loop by a label
    CHECK(!parse_query(message(std::string("\xc0\x00", 2) + kTail)).has_value());  // into the header
    CHECK(!parse_query(message(std::string("\xc0\xff", 2) + kTail)).has_value());  // beyond the end
    CHECK(!parse_query(message(std::string("\x80"
                                           "a\x00",
                                           3) +
                               kTail))
               .has_value());  // reserved label type
    std::string too_long;
    for (int i = 0; i < 128; ++i)
      too_long += std::string(
          "\x01"
          "a",
          2);
    CHECK(!parse_query(message(too_long + std::string(1, '\0') + kTail)).has_value());
  }
}

TEST_CASE("answers are written, compressed, and cut to size") {
  auto q = query("Web.Default.svc.cluster.local", Type::kA);
  Answer answer{Rcode::kNoError, true, {}, {}, {}};
  for (int i = 0; i < 60; ++i)
    answer.answers.push_back(Record::address(q.name, 30, *net::IpAddress::parse("10.42.0." + std::to_string(i))));
  std::string whole = write_answer(q, answer, kMaxMessage);
  auto info = parse_response(whole);
  REQUIRE(info.has_value());
  CHECK(!info->truncated);
  CHECK(info->name == q.name);  // the case of the question
  CHECK(info->ttl_offsets.size() == 60);
  CHECK(info->min_ttl == 30);
  CHECK(read_answers(whole) == answer.answers);
  CHECK(whole.size() == info->question_end + 60 * 16);  // each name is a pointer
  std::string cut = write_answer(q, answer, 512);
  CHECK(cut.size() <= 512);
  info = parse_response(cut);
  REQUIRE(info.has_value());
  CHECK(info->truncated);
  CHECK(read_answers(cut).size() == info->ttl_offsets.size());
  CHECK(info->ttl_offsets.size() > 20);
  q.edns = true;
  std::string with_opt = write_answer(q, answer, 512);
  CHECK(with_opt.size() <= 512);
  CHECK(parse_response(with_opt).has_value());
}

TEST_CASE("random bytes never do harm, nor do mutated messages") {
  auto q = query("a.b.c.example", Type::kSrv);
  Answer answer{Rcode::kNoError,
                true,
                {Record::srv(q.name, 30, 0, 100, 80, *Name::parse("x.example"))},
                {Record::soa(*Name::parse("example"), 30, *Name::parse("ns.example"), *Name::parse("h.example"), 1)},
                {}};
  std::string good = write_answer(q, answer, kMaxMessage);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = i % 2 == 0 ? random_bytes(random_u64() % 80) : good;
    for (int k = 0; k < 3 && !bytes.empty(); ++k) bytes[random_u64() % bytes.size()] = static_cast<char>(random_u64());
    (void)parse_query(bytes);
    (void)parse_response(bytes);
    (void)read_answers(bytes);
  }
  SUCCEED();
}

TEST_CASE("the cache keeps what it may, for as long as it may") {
  DnsCache cache;
  auto now = DnsCache::Time(std::chrono::hours(1));
  auto q = query("Example.com", Type::kA);
  auto response = [&](std::uint32_t ttl, Rcode rcode = Rcode::kNoError) {
    return write_answer(q, {rcode, false, {Record::address(q.name, ttl, *net::IpAddress::parse("192.0.2.7"))}, {}, {}},
                        512);
  };
  std::string kept = response(10);
  cache.put(q, kept, *parse_response(kept), now);
  auto other = query("eXAMPLE.com", Type::kA);
  other.id = 7;
  auto hit = cache.find(other, now + std::chrono::seconds(4));
  REQUIRE(hit.has_value());
  auto info = parse_response(*hit);
  CHECK(info->id == 7);
  CHECK(info->name == other.name);
  CHECK(info->min_ttl == 6);
  CHECK(!cache.find(query("example.com", Type::kAaaa), now).has_value());
  CHECK(!cache.find(other, now + std::chrono::seconds(10)).has_value());
  CHECK(cache.bytes() == 0);
  std::string long_lived = response(86'400);
  cache.put(q, long_lived, *parse_response(long_lived), now);
  CHECK(cache.find(q, now + std::chrono::seconds(29)).has_value());
  CHECK(!cache.find(q, now + std::chrono::seconds(30)).has_value());
  std::string failed = response(30, Rcode::kServFail);
  cache.put(q, failed, *parse_response(failed), now);
  CHECK(!cache.find(q, now).has_value());
  for (int i = 0; i < 5'000; ++i) {
    q = query("n" + std::to_string(i) + ".example.com", Type::kA);
    std::string one = response(30);
    cache.put(q, one, *parse_response(one), now);
  }
  CHECK(cache.bytes() <= 256 * 1024);
  CHECK(cache.find(q, now).has_value());
  CHECK(!cache.find(query("n0.example.com", Type::kA), now).has_value());
}

TEST_CASE("resolv.conf") {
  auto servers = read_resolv_conf(
      "# x\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # y\nnameserver bad\nnameserverx 1.1.1.1\n"
      "search a\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n");
  REQUIRE(servers.size() == 3);
  CHECK(servers[1].address.str() == "2001:db8::1");
  CHECK(servers[2].address.str() == "192.0.2.2");
  CHECK(read_resolv_conf("").empty());
  CHECK(parse_upstream("192.0.2.1:5353")->port == 5353);
  CHECK(!parse_upstream("192.0.2.1:0"));
  CHECK(!parse_upstream("dns.example"));
}
