#include "dns_cache.h"

#include <algorithm>

namespace brume::network::dns {
namespace {

constexpr auto kLongest = std::chrono::seconds(30);  // as kubeadm configures CoreDNS
constexpr std::size_t kMostBytes = 256 * 1024;
constexpr std::size_t kEntryOverhead = 160;
constexpr std::size_t kMostOfOne = 4'096;

std::string key_of(const Query& query) {
  std::string key = query.name.lower().wire();
  key.push_back(static_cast<char>(query.type >> 8));
  key.push_back(static_cast<char>(query.type & 0xff));
  key.push_back(static_cast<char>(query.klass >> 8));
  key.push_back(static_cast<char>(query.klass & 0xff));
  // What the answer holds depends on these: signatures, an OPT record.
  key.push_back(
      static_cast<char>((query.dnssec_ok ? 1 : 0) | (query.checking_disabled ? 2 : 0) | (query.edns ? 4 : 0)));
  return key;
}

std::size_t cost(const std::string& key, const std::string& response) {
  return 2 * key.size() + response.size() + kEntryOverhead;
}

}  // namespace

std::optional<std::string> DnsCache::find(const Query& query, Time now) {
  auto found = by_key_.find(key_of(query));
  if (found == by_key_.end()) return std::nullopt;
  auto entry = found->second;
  if (now >= entry->expires) {
    erase(entry);
    return std::nullopt;
  }
  entries_.splice(entries_.begin(), entries_, entry);
  std::string response = entry->response;
  response[0] = static_cast<char>(query.id >> 8);
  response[1] = static_cast<char>(query.id & 0xff);
  response.replace(kHeaderSize, query.name.wire().size(), query.name.wire());
  auto age = static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(now - entry->stored).count());
  for (std::size_t at : entry->ttl_offsets) {
    std::uint32_t ttl = 0;
    for (std::size_t i = 0; i < 4; ++i) ttl = ttl << 8 | static_cast<unsigned char>(response[at + i]);
    ttl = ttl > age ? ttl - age : 0;
    for (std::size_t i = 0; i < 4; ++i) response[at + i] = static_cast<char>(ttl >> (24 - 8 * i) & 0xff);
  }
  return response;
}

void DnsCache::put(const Query& query, const std::string& response, const ResponseInfo& info, Time now) {
  constexpr std::uint8_t kNoError = 0;
  constexpr std::uint8_t kNxDomain = 3;
  if (info.truncated || (info.rcode != kNoError && info.rcode != kNxDomain) || info.min_ttl == 0) return;
  if (response.size() > kMostOfOne) return;
  std::string key = key_of(query);
  if (auto old = by_key_.find(key); old != by_key_.end()) erase(old->second);
  auto life = std::min<std::chrono::seconds>(kLongest, std::chrono::seconds(info.min_ttl));
  bytes_ += cost(key, response);
  entries_.push_front({key, response, info.ttl_offsets, now, now + life});
  by_key_.emplace(std::move(key), entries_.begin());
  while (bytes_ > kMostBytes) erase(std::prev(entries_.end()));
}

void DnsCache::erase(std::list<Entry>::iterator entry) {
  bytes_ -= cost(entry->key, entry->response);
  by_key_.erase(entry->key);
  entries_.erase(entry);
}

}  // namespace brume::network::dns
