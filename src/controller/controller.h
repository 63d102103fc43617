// The base of every controller, and what they share.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/clock.h"
#include "brume/base/json.h"
#include "brume/base/result.h"
#include "brume/base/task.h"
#include "brume/client/client.h"
#include "brume/client/events.h"
#include "brume/client/helpers.h"
#include "brume/client/informer.h"
#include "brume/client/queue.h"
#include "brume/controller/controllers.h"
#include "pod_view.h"

namespace brume::controller {

using api::Object;
using api::ObjectPtr;
using api::res;
using client::Informer;

/// Shared by the controllers of one loop.
struct Context {
  client::InformerFactory& informers;
  Options options;
  PodViews& pods;
  client::Client& client() const { return informers.client(); }
  Clock& clock() const { return informers.clock(); }
};

/// A loop: informers, a queue of keys, reconcile(key). start() waits for the informers that were asked for with use().
class Controller {
 public:
  Controller(Context& context, std::string name, client::WorkQueueOptions options = {});
  virtual ~Controller();
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;

  void start();
  Task<void> stop();
  /// The context's options are others than before.
  virtual void options_changed() {}
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool idle() const { return queue_.idle(); }

 protected:
  /// Moves the world one step towards what the object under `key` wants. An error brings the key back after a pause.
  virtual Task<Status> reconcile(std::string key) = 0;
  /// Called once, when all informers have synced and before the first reconcile.
  virtual void synced() {}

  Informer& use(std::string_view group_resource);
  /// Every change of the resource adds the object's key to the queue.
  Informer& watch(std::string_view group_resource);
  void enqueue(const ObjectPtr& object) { queue_.add(object->key()); }
  [[nodiscard]] client::Client& client() const { return context_.client(); }
  [[nodiscard]] Clock& clock() const { return context_.clock(); }

  Context& context_;
  std::string name_;
  client::WorkQueue queue_;
  client::EventRecorder events_;
  TaskGroup tasks_;

 private:
  static Task<void> begin(Controller* self);
  std::vector<Informer*> used_;
};

/// ns/name to its parts.
std::pair<std::string, std::string> split_key(std::string_view key);

/// An int-or-percent of `total`.
std::int64_t scaled_value(const Json& int_or_percent, std::int64_t total, bool round_up);

/// What ends a generated name: stable over what is named (canonical bytes) and its collision count.
std::string name_hash(std::string_view bytes, std::int64_t collisions);

/// A hundred years: what users mean by more, and what a time can be moved by without leaving its range.
inline constexpr std::int64_t kMostSeconds = std::int64_t{100} * 366 * 86400;

/// Whether a creation failed because its namespace is being deleted: all of it is about to go.
bool namespace_goes(const Error& error);

/// Puts a count into a status as Kubernetes writes it: zero is left out.
void set_count(Json& status, const char* field, std::int64_t value);

/// Makes the object's status `after` by a merge patch that demands the object's uid; nothing is sent when it equals
/// `before`. An object that is gone is no error. Gives the revision written, or 0. Of a status that others write too it
/// can demand the object's revision: kConflict when they have.
enum class Demand : std::uint8_t { kUid, kRevision };
Task<Result<std::int64_t>> write_status(client::Client& client, const api::Resource& resource, ObjectPtr object,
                                        Json before, Json after, Demand demand = Demand::kUid);

}  // namespace brume::controller
