// The ConfigMaps and Secrets that pods on this node use, each watched by its name, as the Node authorizer allows.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "brume/base/clock.h"
#include "brume/base/task.h"
#include "brume/client/client.h"

namespace brume::client {
class Informer;
}

namespace brume::node {

/// Owner: the node loop.
class ObjectCache {
 public:
  enum class Kind : std::uint8_t { kConfigMap, kSecret };

  ObjectCache(client::Client& client, const Executor& executor, Clock& clock);
  ~ObjectCache();

  /// The object now, and from now on `user` (a pod's uid) is told of its changes until release(). kNotFound when it
  /// does not exist (its coming is a change).
  Task<Result<api::ObjectPtr>> use(std::string user, Kind kind, std::string ns, std::string name);
  void release(const std::string& user);
  /// Called with the user after an object that it uses has changed.
  void on_change(std::function<void(const std::string& user)> callback) { changed_ = std::move(callback); }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  Task<void> stop();

 private:
  struct Entry {
    std::unique_ptr<client::Informer> informer;
    std::set<std::string> users;
    std::int64_t seen = -1;  ///< the revision that users were given; 0: that it is absent
  };
  using Key = std::tuple<Kind, std::string, std::string>;
  void watch(const Key& key, Entry& entry);
  void told(const Key& key, std::int64_t revision);

  client::Client& client_;
  Executor executor_;
  Clock& clock_;
  TaskGroup group_;
  std::map<Key, std::shared_ptr<Entry>> entries_;
  std::function<void(const std::string&)> changed_;
};

}  // namespace brume::node
