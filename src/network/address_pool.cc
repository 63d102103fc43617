#include "address_pool.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "brume/base/log.h"
#include "brume/base/strings.h"

namespace brume::network {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kFirstOffset = 2;         // 0 is the block itself, 1 the gateway
constexpr std::string_view kUnfinished = ".new";  // a claim whose rename never came

std::optional<PodHostPort> parse_port(std::istringstream& words) {
  int protocol = 0;
  int host_port = 0;
  int pod_port = 0;
  std::string host_ip;
  if (!(words >> protocol >> host_port >> pod_port >> host_ip)) return std::nullopt;
  PodHostPort port{static_cast<std::uint8_t>(protocol),
                   static_cast<std::uint16_t>(host_port),
                   static_cast<std::uint16_t>(pod_port),
                   {}};
  if (host_ip != "*") {
    auto address = net::IpAddress::parse(host_ip);
    if (!address) return std::nullopt;
    port.host_ip = *address;
  }
  return port;
}

}  // namespace

Result<AddressPool> AddressPool::open(std::string dir, net::Cidr block) {
  if (block.address.empty() || block.host_count() < 4) {
    return fail(Code::kInvalid, "the node's pod address block " + block.str() + " has no room for pods");
  }
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) return fail_errno(error.value(), "creating " + dir);
  AddressPool pool(std::move(dir), block);
  for (fs::directory_iterator entries(pool.dir_, error), end; !error && entries != end; entries.increment(error)) {
    pool.read(entries->path().filename());
  }
  if (error) return fail_errno(error.value(), "reading " + pool.dir_);
  // Goes on after the highest address in use: those of a node that only grew are all below.
  for (std::uint64_t offset = pool.usable() + kFirstOffset - 1; offset >= kFirstOffset; --offset) {
    if (!pool.used_.contains(block.address.plus(offset))) continue;
    pool.next_ = offset + 1;
    break;
  }
  return pool;
}

void AddressPool::read(const std::string& file_name) {
  std::string path = dir_ + "/" + file_name;
  auto address = net::IpAddress::parse(file_name);
  std::ifstream file(path);
  std::string uid;
  Lease lease;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    if (key == "uid") words >> uid;
    if (key == "port") {
      if (auto port = parse_port(words)) lease.host_ports.push_back(*port);
    }
  }
  if (!address || !block_.contains(*address) || uid.empty() || leases_.contains(uid)) {
    // Unfinished, of a former block, or not ours. None of them can belong to a pod that could still be reached.
    log::warn("dropping a pod address file that makes no sense", {{"file", path}});
    std::error_code ignored;
    fs::remove(path, ignored);
    return;
  }
  lease.address = *address;
  used_[*address] = uid;
  leases_[uid] = std::move(lease);
}

const Lease* AddressPool::find(const std::string& uid) const {
  auto found = leases_.find(uid);
  return found == leases_.end() ? nullptr : &found->second;
}

Status AddressPool::write(const std::string& uid, const Lease& lease) const {
  std::string path = dir_ + "/" + lease.address.str();
  std::string unfinished = path + std::string(kUnfinished);
  {
    std::ofstream file(unfinished, std::ios::trunc);
    file << "uid " << uid << '\n';
    for (const auto& port : lease.host_ports) {
      file << "port " << int{port.protocol} << ' ' << port.host_port << ' ' << port.pod_port << ' '
           << (port.host_ip.empty() ? "*" : port.host_ip.str()) << '\n';
    }
    file.flush();
    if (!file) return fail(Code::kIo, "writing " + unfinished + " failed");
  }
  if (std::rename(unfinished.c_str(), path.c_str()) != 0) return fail_errno(errno, "putting " + path + " in place");
  return {};
}

std::uint64_t AddressPool::usable() const {
  constexpr std::uint64_t kMost = 1U << 16;  // far more pods than a node runs; bounds the search in an IPv6 block
  return std::min(block_.host_count() - 1 - kFirstOffset, kMost);
}

Result<Lease> AddressPool::claim(const std::string& uid, std::vector<PodHostPort> host_ports) {
  if (uid.empty() || uid.find_first_of(" \n\t/") != std::string::npos)
    return fail(Code::kInvalid, "a pod uid cannot be \"" + uid + "\"");
  if (auto held = leases_.find(uid); held != leases_.end()) {
    if (held->second.host_ports != host_ports) {
      Lease changed{held->second.address, std::move(host_ports)};
      BRUME_CHECK(write(uid, changed));
      held->second = std::move(changed);
    }
    return held->second;
  }
  for (std::uint64_t tried = 0; tried < usable(); ++tried) {
    std::uint64_t offset = kFirstOffset + (next_ - kFirstOffset + tried) % usable();
    net::IpAddress address = block_.address.plus(offset);
    if (used_.contains(address)) continue;
    Lease lease{address, std::move(host_ports)};
    BRUME_CHECK(write(uid, lease));
    next_ = offset + 1;
    used_[address] = uid;
    leases_[uid] = lease;
    return lease;
  }
  return fail(Code::kTooManyRequests,
              "all " + std::to_string(usable()) + " pod addresses of " + block_.str() + " are in use");
}

Status AddressPool::release(const std::string& uid) {
  auto held = leases_.find(uid);
  if (held == leases_.end()) return {};
  std::error_code error;
  fs::remove(dir_ + "/" + held->second.address.str(), error);
  if (error) return fail_errno(error.value(), "releasing pod address " + held->second.address.str());
  used_.erase(held->second.address);
  leases_.erase(held);
  return {};
}

}  // namespace brume::network
