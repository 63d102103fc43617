// DnsCache: forwarded answers, kept for as long as they say, at most a short while and a small amount.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>

#include "dns_message.h"

namespace brume::network::dns {

/// Owner: one loop. The least recently used entries make room.
class DnsCache {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// The kept answer, made out to `query`: its id, the case of its name, TTLs reduced by the answer's age.
  [[nodiscard]] std::optional<std::string> find(const Query& query, Time now);
  /// Keeps a response from upstream, if its kind may be kept (NOERROR or NXDOMAIN, whole, a TTL above 0).
  void put(const Query& query, const std::string& response, const ResponseInfo& info, Time now);
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::string key, response;
    std::vector<std::size_t> ttl_offsets;
    Time stored, expires;
  };
  void erase(std::list<Entry>::iterator entry);
  std::list<Entry> entries_;  ///< most recently used first
  std::map<std::string, std::list<Entry>::iterator, std::less<>> by_key_;
  std::size_t bytes_ = 0;
};

}  // namespace brume::network::dns
