// Backend: where the commit loop keeps entries and history. One thread uses it; SQLite and memory implement it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/store/store.h"

namespace brume::store {

/// What the backend remembers across restarts beside entries.
struct BackendState {
  Revision revision = 0;   ///< the last one written
  Revision ceiling = 0;    ///< revisions below it may have been given out without being written (volatile writes)
  Revision compacted = 0;  ///< history begins after it
  bool clean = true;       ///< the last owner closed the store
};

/// Calls come from the commit loop's thread only. A failed call leaves the backend as before the transaction began,
/// once rollback() was called.
class Backend {
 public:
  virtual ~Backend() = default;
  [[nodiscard]] virtual BackendState state() const = 0;

  virtual Status begin() = 0;
  virtual Status commit() = 0;
  virtual void rollback() = 0;

  /// The live entry; null if there is none.
  virtual Result<std::optional<Entry>> find(const std::string& key, bool with_value) = 0;
  /// Applies one event: to history, and to the live entries.
  virtual Status apply(const Event& event) = 0;
  virtual Status save_state(const BackendState& state) = 0;
  virtual Result<Range> range(const std::string& prefix, const std::string& from, std::size_t limit) = 0;
  /// Events after `after`, in order, in chunks.
  virtual Status history(const std::string& prefix, Revision after, const Sink& sink) = 0;
  /// How many events of history are newer than `after`.
  virtual Result<Revision> count_after(Revision after) = 0;
  /// The revision of the `n`th event after `after`; 0 if there are fewer.
  virtual Result<Revision> nth_after(Revision after, Revision n) = 0;
  /// Drops history in (from, upto] that no live entry needs.
  virtual Status compact(Revision from, Revision upto) = 0;

  /// Volatile entries that the last clean close left, and their replacement.
  virtual Result<std::vector<Entry>> load_volatile() = 0;
  virtual Status save_volatile(const std::vector<Entry>& entries) = 0;

  virtual Status close() = 0;
};

Result<std::unique_ptr<Backend>> open_sqlite_backend(const std::string& path);
std::unique_ptr<Backend> open_memory_backend();

struct CommitLoopOptions {
  std::size_t max_batch = 512;
  Revision keep_revisions = 10'000;
};

/// The Store over any backend: one thread, grouped commits, watches, volatile entries.
Result<std::unique_ptr<Store>> run_commit_loop(std::unique_ptr<Backend> backend, CommitLoopOptions options);

/// The first key after every key that starts with `prefix`; "" when there is none.
[[nodiscard]] std::string prefix_end(std::string prefix);

}  // namespace brume::store
