// FreshObjects: an informer's copy together with own changes that it does not show yet.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "brume/client/informer.h"

namespace brume::client {

/// Without it, a step would be decided on a state that the step before has changed. Owner: the informer's loop.
class FreshObjects {
 public:
  explicit FreshObjects(Informer& informer) : informer_(informer) {}

  /// Own write: counts until the informer has that version.
  void wrote(ObjectPtr object);
  /// What is about to be written on top of a version that was read: counts until the informer has a newer one than
  /// that, or until forget().
  void assume(ObjectPtr object);
  void forget(const std::string& key) { newer_.erase(key); }

  [[nodiscard]] ObjectPtr get(const std::string& key);
  [[nodiscard]] std::vector<ObjectPtr> all();
  /// Whether get() gives the informer's own version.
  [[nodiscard]] bool is_copy(const ObjectPtr& object) const { return informer_.get(object->key()) == object; }

 private:
  struct Newer {
    ObjectPtr object;
    std::int64_t until = 0;  ///< the revision at which the informer's version counts again
  };
  Informer& informer_;
  std::map<std::string, Newer> newer_;  // by key
};

}  // namespace brume::client
