// Informer: a local copy of one resource, kept by list and watch, with indexes and change handlers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "brume/base/clock.h"
#include "brume/base/task_fwd.h"
#include "brume/client/client.h"

namespace brume::client {

struct InformerOptions {
  std::string ns = {};  ///< empty: all
  std::string label_selector = {};
  std::string field_selector = {};
  std::int64_t page_size = 500;  ///< of the first list
};

/// What to call after the copy has changed. Any may be empty. Called on the informer's loop, one at a time, in the
/// order of the revisions; they must not block and should only note what to do (add a key to a queue).
struct InformerHandler {
  std::function<void(const ObjectPtr& now)> added = {};
  std::function<void(const ObjectPtr& old, const ObjectPtr& now)> updated = {};
  /// The last state known, which after a relist may not be the object's very last.
  std::function<void(const ObjectPtr& last)> deleted = {};
};

/// Keeps a copy of one resource: lists, then watches, resumes after breaks, and lists again when the server no longer
/// has the revision (then missed changes become updates and deletes). It holds ObjectPtr only, so its bytes are those
/// of the watch cache in the same process. Owner: one loop; every call on it.
class Informer {
 public:
  /// The index values of an object: none, one or several.
  using IndexFunction = std::function<void(const api::Object&, std::vector<std::string>& values)>;

  Informer(Client& client, const api::Resource& resource, const Executor& executor, Clock& clock,
           InformerOptions options = {});
  ~Informer();
  Informer(const Informer&) = delete;
  Informer& operator=(const Informer&) = delete;

  /// Any time; a handler added late is told of every object that is there.
  void add_handler(InformerHandler handler);
  /// Any time; adding an index of a known name does nothing.
  void add_index(std::string_view name, IndexFunction function);

  void start();  ///< does nothing the second time
  Task<void> stop();

  /// The first list is complete and its handlers were called.
  [[nodiscard]] bool has_synced() const;
  Task<void> wait_synced();

  [[nodiscard]] const api::Resource& resource() const;
  [[nodiscard]] ObjectPtr get(std::string_view ns, std::string_view name) const;
  [[nodiscard]] ObjectPtr get(std::string_view key) const;  ///< ns/name, or name
  [[nodiscard]] std::vector<ObjectPtr> list(std::string_view ns = {}) const;
  [[nodiscard]] std::vector<ObjectPtr> by_index(std::string_view index, std::string_view value) const;
  /// The same without a copy: valid until the next co_await.
  [[nodiscard]] const std::vector<ObjectPtr>& index(std::string_view name, std::string_view value) const;
  [[nodiscard]] std::size_t size() const;
  /// Calls `visit` for each object, in order of keys. `visit` must not suspend nor change the informer.
  void each(const std::function<void(const ObjectPtr&)>& visit) const;
  /// The revision that the copy has reached.
  [[nodiscard]] std::int64_t revision() const;

  // Index functions that many loops use.
  static void by_owner_uid(const api::Object& object, std::vector<std::string>& values);       ///< every owner
  static void by_controller_uid(const api::Object& object, std::vector<std::string>& values);  ///< the controller only
  static void by_namespace(const api::Object& object, std::vector<std::string>& values);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// Informers shared by the loops' components: one a resource, made on first use. Owner: one loop.
class InformerFactory {
 public:
  InformerFactory(Client& client, const Executor& executor, Clock& clock);
  ~InformerFactory();
  InformerFactory(const InformerFactory&) = delete;
  InformerFactory& operator=(const InformerFactory&) = delete;

  /// The informer of the whole resource; started when the factory is.
  Informer& informer(const api::Resource& resource);
  Informer& informer(std::string_view group_resource);  ///< as api::res()
  /// Null when nobody asked for it yet.
  [[nodiscard]] Informer* find(const api::Resource& resource) const;
  void start();
  Task<void> wait_synced();
  Task<void> stop();

  [[nodiscard]] Client& client() const;
  [[nodiscard]] Clock& clock() const;
  [[nodiscard]] const Executor& executor() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// What a loop reads of an object, decoded once per object version and kept while the informer has that version.
/// `Decode` makes a View of an Object. Owner: the informer's loop.
template <typename View>
class Projection {
 public:
  using Decode = std::function<View(const api::Object&)>;

  Projection(Informer& informer, Decode decode) : cache_(std::make_shared<Cache>()), decode_(std::move(decode)) {
    auto drop = [cache = cache_](const ObjectPtr& object) { cache->erase(object.get()); };
    informer.add_handler(
        {.added = nullptr, .updated = [drop](const ObjectPtr& old, const ObjectPtr&) { drop(old); }, .deleted = drop});
  }

  /// Valid until the informer's next change, so not across a co_await.
  const View& of(const ObjectPtr& object) {
    auto [it, fresh] = cache_->try_emplace(object.get());
    if (fresh) it->second = {object, decode_(*object)};
    return it->second.second;
  }
  /// Views of versions that the informer no longer (or not yet) has would stay for ever: decode those without keeping.
  [[nodiscard]] View decode(const api::Object& object) const { return decode_(object); }
  [[nodiscard]] std::size_t size() const { return cache_->size(); }

 private:
  using Cache = std::unordered_map<const api::Object*, std::pair<ObjectPtr, View>>;
  std::shared_ptr<Cache> cache_;
  Decode decode_;
};

}  // namespace brume::client
