// What plugins may use of the scheduler.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "brume/base/clock.h"
#include "brume/client/client.h"
#include "brume/client/events.h"
#include "brume/client/informer.h"
#include "cache.h"
#include "framework.h"
#include "nominations.h"
#include "reporter.h"

namespace brume::scheduler {

class Profile;

/// Pods that permit plugins hold back, or that are being prepared for their binding.
class WaitingPods {
 public:
  virtual ~WaitingPods() = default;
  /// The plugin no longer holds the pod back; when none does, it is bound. Does nothing for a pod that does not wait.
  virtual void allow(const std::string& uid, std::string_view plugin) = 0;
  /// Ends its attempt. False when it neither waits nor is being prepared.
  virtual bool reject(const std::string& uid, std::string_view plugin, const std::string& message) = 0;
  /// For a plugin that has to wait while it prepares a pod for its binding: `wake` is called when the attempt is to end
  /// (see ended()). Null takes it back.
  virtual void wake_when_ended(const std::string& uid, std::function<void()> wake) = 0;
  /// Why the attempt of a pod that is being prepared is to end: it was preempted or deleted. Null: it goes on.
  [[nodiscard]] virtual const std::string* ended(const std::string& uid) const = 0;
  /// Calls for each waiting pod with the node that was chosen for it.
  virtual void each(const std::function<void(const PodPtr& pod, const std::string& node)>& visit) const = 0;
};

/// One for each profile; it outlives the profile's plugins. Owner: the scheduler's loop.
struct Handle {
  client::InformerFactory& informers;
  NodeCache& nodes;          ///< nodes and what is on them, pods being bound included
  Nominations& nominations;  ///< pods that preemption made room for
  WaitingPods& waiting;
  client::EventRecorder& events;
  PodReporter& reporter;  ///< what pods' statuses say of their scheduling
  TaskGroup& tasks;       ///< for what plugins do in the background
  /// Tells the queue of a change that no informer shows.
  std::function<void(const Change&)> announce;
  /// The pod is tried again at once, wherever it waits.
  std::function<void(const std::string& uid)> activate;
  /// The pod was held back before the queue by a plugin that no longer does: it is tried after its back-off.
  std::function<void(const std::string& uid)> release;
  Profile* profile = nullptr;  ///< the plugin's own; set once all its plugins are made

  [[nodiscard]] client::Client& client() const { return informers.client(); }
  [[nodiscard]] Clock& clock() const { return informers.clock(); }
};

}  // namespace brume::scheduler
