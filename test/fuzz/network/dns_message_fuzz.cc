// libFuzzer target: whatever a client or a name server sends. Build with -fsanitize=fuzzer,address,undefined.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "dns_message.h"
#include "dns_zone.h"

using namespace brume::network::dns;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ClusterZone zone("cluster.local", 1);
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (auto query = parse_query(bytes); query.has_value()) {
    Answer answer = zone.resolve(*query).value_or(Answer{Rcode::kRefused, false, {}, {}, {}});
    std::string written = write_answer(*query, answer, query->udp_size);
    // What we write must be readable, and must fit.
    auto read = parse_response(written);
    if (written.size() > query->udp_size || !read || !(read->name == query->name)) std::abort();
    (void)query->name.str();
  }
  (void)parse_response(bytes);
  (void)read_answers(bytes);
  return 0;
}
