// Store: ordered keys, bytes and revisions; never kinds. SQLite, memory and (later) etcd implement it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"

namespace brume::store {

/// A point in the history of the whole store. Grows by one with each write; 0 is before the first. Never used twice,
/// not even after a power cut.
using Revision = std::int64_t;
/// Immutable and shared: the same bytes live in the store's caller, the watch cache and every response.
using Bytes = std::shared_ptr<const std::string>;

struct Entry {
  std::string key;
  Bytes value;
  Revision create_revision = 0;
  Revision mod_revision = 0;
};

enum class Durability : std::uint8_t {
  kDurable,   ///< on disk (fsync) before the write is acknowledged
  kVolatile,  ///< in memory; written out by a clean close only (leases, heartbeats: see docs/design)
};

/// One compare-and-write.
struct Write {
  enum class Kind : std::uint8_t { kPut, kDelete };
  Kind kind = Kind::kPut;
  std::string key;
  Bytes value;                       ///< for kPut
  std::optional<Revision> expected;  ///< the key's mod_revision; 0: must not exist; nullopt: whatever
  Durability durability = Durability::kDurable;
};

struct Event {
  Write::Kind kind = Write::Kind::kPut;
  std::string key;
  Bytes value;  ///< the new value; of a delete, the last one
  Revision revision = 0;
  Revision create_revision = 0;
  Revision previous_revision = 0;  ///< the mod_revision that this event replaced; 0: the key is new
};

struct Range {
  std::vector<Entry> entries;
  Revision revision = 0;  ///< of the store when it was read
  bool more = false;      ///< the limit cut the range
};

struct Health {
  bool writable = true;
  std::string reason;  ///< why not: "disk full: ...", "read-only: ...", "corrupt: ...", and how to mend it
};

/// A running watch; destroying it ends the calls to its sink (it waits for one under way).
class Watch {
 public:
  virtual ~Watch() = default;
  /// Why the watch ended by itself: history could not be read. Its sink is not called any more then.
  [[nodiscard]] virtual Status status() const = 0;
};

/// Called in revision order, on the store's thread, with everything one commit did. It must not block and must not call
/// the store.
using Sink = std::function<void(std::span<const Event>)>;

/// Thread-safe. Every method may be called from any loop; coroutines resume on the caller's loop.
class Store {
 public:
  virtual ~Store() = default;

  /// Does one compare-and-write and gives its revision. Acknowledged only when durable, and only after every watch's
  /// sink has seen its event. Errors: kAlreadyExists (expected 0, key is there), kConflict (another mod_revision),
  /// kNotFound (delete, or expected > 0, of an absent key), kServiceUnavailable (the store cannot write: see health()).
  virtual Task<Result<Revision>> write(Write write) = 0;

  /// Entries with keys in [from, prefix's end), by key, `limit` at most (0: all).
  virtual Task<Result<Range>> range(std::string prefix, std::string from, std::size_t limit) = 0;

  /// Calls `sink` with every event after `after` whose key starts with `prefix`: first what history holds, then live,
  /// without gap or repeat. History has been delivered, or status() tells why not, when a call of range() made after
  /// this one answers. kExpired when `after` is older than the compacted history (volatile keys have none).
  virtual Result<std::unique_ptr<Watch>> watch(std::string prefix, Revision after, Sink sink) = 0;

  /// Forgets history up to and with `revision`. Live entries stay.
  virtual Task<Status> compact(Revision revision) = 0;

  [[nodiscard]] virtual Revision revision() const = 0;            ///< newest acknowledged
  [[nodiscard]] virtual Revision compacted_revision() const = 0;  ///< history begins after it
  [[nodiscard]] virtual Revision start_revision() const = 0;      ///< when this process opened the store
  [[nodiscard]] virtual Health health() const = 0;

  /// Flushes volatile entries, closes files. No call may follow.
  virtual Task<Status> close() = 0;
};

struct SqliteOptions {
  std::string path;                  ///< the database file; its directory must exist
  std::size_t max_batch = 512;       ///< writes folded into one transaction
  Revision keep_revisions = 10'000;  ///< history kept by the store's own compaction
};

/// Opens (and recovers, migrates) an SQLite database. Errors name the file and what to do: locked by another process,
/// not a database, corrupt, read-only file system, disk full.
Result<std::unique_ptr<Store>> open_sqlite(SqliteOptions options);

/// A store that lives in memory: tests and `--datastore memory`.
std::unique_ptr<Store> open_memory();

}  // namespace brume::store
