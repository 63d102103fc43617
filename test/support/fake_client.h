// FakeClient: an API server in memory, for unit tests of everything that talks through client::Client.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/clock.h"
#include "brume/base/json.h"
#include "brume/client/client.h"

namespace brume::test {

/// Behaves like the API server where loops can tell: revisions, optimistic concurrency, watch with selectors and
/// expiry, the status split, generation, generateName, graceful pod deletion, finalizers and propagation, namespaces'
/// finalize, pods/binding and pods/eviction. It does not default, validate or authorise. Thread-safe; every call
/// suspends once, so that races between tasks show.
class FakeClient : public client::Client {
 public:
  using ObjectPtr = api::ObjectPtr;

  /// One call, as a reactor and the journal see it.
  struct Call {
    std::string verb;      ///< get, list, watch, create, update, patch, delete, deletecollection
    std::string resource;  ///< pods, deployments.apps
    std::string ns;
    std::string name;
    std::string subresource;
    Json body;
  };
  /// Looks at a call before it is done; an Error is answered instead of doing it. Called under no lock.
  using Reactor = std::function<std::optional<Error>(const Call&)>;

  explicit FakeClient(Clock& clock = system_clock());
  ~FakeClient() override;

  // What tests do behind the API's back. `resource` is such as "pods" or "deployments.apps".

  void react(Reactor reactor);
  void clear_reactors();
  /// Stores the object whole, status included; fills in uid, creationTimestamp, apiVersion, kind when absent. It
  /// replaces one of that name, whose uid it keeps, and is seen by watches.
  ObjectPtr seed(std::string_view resource, Json object);
  /// Replaces the object's status (merge when `merge`), as another component would.
  void set_status(std::string_view resource, std::string_view ns, std::string_view name, const Json& status,
                  bool merge = true);
  /// Takes the object away whatever its finalizers say.
  void erase(std::string_view resource, std::string_view ns, std::string_view name);
  /// What get_raw() answers at that path; null: nothing.
  void set_raw(const std::string& path, Json answer);
  /// The object or null.
  [[nodiscard]] ObjectPtr find(std::string_view resource, std::string_view ns, std::string_view name) const;
  [[nodiscard]] Json json(std::string_view resource, std::string_view ns, std::string_view name) const;
  [[nodiscard]] std::vector<ObjectPtr> all(std::string_view resource, std::string_view ns = {}) const;
  /// Calls so far (get, list and watch too), oldest first.
  [[nodiscard]] std::vector<Call> calls() const;
  /// How many calls were made of that verb, resource and sub-resource.
  [[nodiscard]] std::size_t count(std::string_view verb, std::string_view resource,
                                  std::string_view subresource = {}) const;
  void clear_calls();
  /// Every open watch ends with this error.
  void break_watches(Error error);
  /// Forgets events so far: watches from an older revision get kExpired.
  void compact();
  [[nodiscard]] std::int64_t revision() const;

  // client::Client

  Task<Result<ObjectPtr>> get(const api::Resource& resource, std::string ns, std::string name) override;
  /// Of a Scale, from the fields that built-in kinds have.
  Task<Result<Json>> get_subresource(const api::Resource& resource, std::string ns, std::string name,
                                     std::string subresource) override;
  /// What set_raw() put there.
  Task<Result<Json>> get_raw(std::string path) override;
  Task<Result<client::List>> list(const api::Resource& resource, client::ListOptions options) override;
  Task<Result<std::unique_ptr<client::Watch>>> watch(const api::Resource& resource,
                                                     client::WatchOptions options) override;
  Task<Result<ObjectPtr>> create(const api::Resource& resource, std::string ns, Json body,
                                 client::WriteOptions options) override;
  Task<Result<Json>> create_subresource(const api::Resource& resource, std::string ns, std::string name,
                                        std::string subresource, Json body) override;
  Task<Result<ObjectPtr>> update(const api::Resource& resource, std::string ns, std::string name, Json body,
                                 client::WriteOptions options) override;
  Task<Result<ObjectPtr>> patch(const api::Resource& resource, std::string ns, std::string name, client::PatchType type,
                                Json patch, client::WriteOptions options) override;
  Task<Status> remove(const api::Resource& resource, std::string ns, std::string name,
                      client::DeleteOptions options) override;
  Task<Status> remove_collection(const api::Resource& resource, client::ListOptions which,
                                 client::DeleteOptions options) override;

  struct State;

 private:
  std::shared_ptr<State> state_;
};

/// Whether `selector` (a=b, a==b, a!=b, a, !a, a in (x,y), a notin (x,y), comma-joined) matches the labels.
[[nodiscard]] bool labels_match(std::string_view selector, const api::StringMap& labels);
/// Whether a field selector (path=value, path!=value, comma-joined) matches the object.
[[nodiscard]] bool fields_match(std::string_view selector, const Json& object);

}  // namespace brume::test
