// The SQLite backend. File format: docs/formats/store.md.
#include <sqlite3.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "brume/base/log.h"
#include "brume/base/strings.h"
#include "store/backend.h"

namespace brume::store {

namespace {

/// The format that this code writes; docs/formats/store.md has the history.
constexpr int kFormat = 1;
/// SQLite's page cache in KiB: the watch cache holds the objects, so the store needs no more than hot index pages.
constexpr const char* kPragmas =
    "PRAGMA locking_mode=EXCLUSIVE;"  // one process owns the file; also saves the shared-memory file
    "PRAGMA cache_size=-1024;"
    "PRAGMA temp_store=MEMORY;"
    "PRAGMA trusted_schema=OFF;";
constexpr const char* kWritePragmas =
    "PRAGMA journal_mode=WAL;"
    "PRAGMA synchronous=FULL;";  // an acknowledged write survives a power cut
constexpr const char* kSchema =
    "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS history(revision INTEGER PRIMARY KEY, key TEXT NOT NULL, deleted INTEGER NOT NULL,"
    " create_revision INTEGER NOT NULL, previous_revision INTEGER NOT NULL, value BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS live(key TEXT PRIMARY KEY, create_revision INTEGER NOT NULL, mod_revision INTEGER NOT "
    "NULL)"
    " WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS volatile(key TEXT PRIMARY KEY, create_revision INTEGER NOT NULL, mod_revision INTEGER "
    "NOT"
    " NULL, value BLOB NOT NULL) WITHOUT ROWID;";

/// A prepared statement; reset when its user is done (Use).
class Statement {
 public:
  Statement() = default;
  ~Statement() { finalize(); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  int prepare(sqlite3* db, const char* sql) {
    return sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt_, nullptr);
  }
  void finalize() { sqlite3_finalize(std::exchange(stmt_, nullptr)); }
  sqlite3_stmt* get() const { return stmt_; }

 private:
  sqlite3_stmt* stmt_ = nullptr;
};

class Use {
 public:
  explicit Use(const Statement& statement) : stmt_(statement.get()) {}
  ~Use() {
    sqlite3_reset(stmt_);
    sqlite3_clear_bindings(stmt_);
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  Use& bind(std::int64_t value) {
    sqlite3_bind_int64(stmt_, ++bound_, value);
    return *this;
  }
  Use& bind_text(std::string_view value) {
    sqlite3_bind_text(stmt_, ++bound_, value.data(), static_cast<int>(value.size()), SQLITE_STATIC);
    return *this;
  }
  Use& bind_blob(std::string_view value) {
    sqlite3_bind_blob(stmt_, ++bound_, value.data(), static_cast<int>(value.size()), SQLITE_STATIC);
    return *this;
  }
  int step() { return sqlite3_step(stmt_); }
  std::int64_t integer(int column) { return sqlite3_column_int64(stmt_, column); }
  std::string text(int column) {
    const auto* data = static_cast<const char*>(sqlite3_column_blob(stmt_, column));
    return data == nullptr ? std::string()
                           : std::string(data, static_cast<std::size_t>(sqlite3_column_bytes(stmt_, column)));
  }
  Bytes bytes(int column) { return std::make_shared<const std::string>(text(column)); }

 private:
  sqlite3_stmt* stmt_;
  int bound_ = 0;
};

class SqliteBackend final : public Backend {
 public:
  explicit SqliteBackend(std::string path) : path_(std::move(path)) {}
  ~SqliteBackend() override;

  Status open();
  Status open_file(const std::string& name, int flags, const char* vfs);
  Status open_read_only();
  BackendState state() const override { return state_; }
  Status begin() override { return run(begin_); }
  Status commit() override { return run(commit_); }
  void rollback() override {
    if (sqlite3_get_autocommit(db_) != 0) return;  // SQLite rolled back by itself, as it does on a full disk
    (void)run(rollback_);
    if (auto state = load_state()) state_ = *state;
  }
  Result<std::optional<Entry>> find(const std::string& key, bool with_value) override;
  Status apply(const Event& event) override;
  Status save_state(const BackendState& state) override;
  Result<Range> range(const std::string& prefix, const std::string& from, std::size_t limit) override;
  Status history(const std::string& prefix, Revision after, const Sink& sink) override;
  Result<Revision> count_after(Revision after) override;
  Result<Revision> nth_after(Revision after, Revision n) override;
  Status compact(Revision from, Revision upto) override;
  Result<std::vector<Entry>> load_volatile() override;
  Status save_volatile(const std::vector<Entry>& entries) override;
  Status close() override;

 private:
  Error error(int code) const;
  Status run(const Statement& statement);
  Status prepare_all();
  Status check_format();
  Result<BackendState> load_state();
  Status exec(const char* sql);

  std::string path_;
  sqlite3* db_ = nullptr;
  BackendState state_;
  Statement begin_, commit_, rollback_, find_, find_value_, insert_history_, put_live_, delete_live_, drop_history_,
      put_meta_, get_meta_, range_, history_, compact_, max_revision_, count_after_, nth_after_;
};

SqliteBackend::~SqliteBackend() { (void)close(); }

// Errors that say what to do. https://www.sqlite.org/rescode.html
Error SqliteBackend::error(int code) const {
  const std::string detail = sqlite3_errmsg(db_);
  switch (code & 0xff) {
    case SQLITE_FULL: return {Code::kIo, "disk full: free space on the file system of " + path_ + " (" + detail + ")"};
    case SQLITE_READONLY:
      return {Code::kIo, "read-only: " + path_ +
                             " cannot be written; remount its file system for writing and start brume again (" +
                             detail + ")"};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {Code::kCorrupt, "corrupt: " + path_ +
                                  " is not a sound database; restore it from a backup, or move it away to "
                                  "start empty (" +
                                  detail + ")"};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {Code::kConflict, "locked: another process uses " + path_ + "; stop the other brume, or give --data-dir"};
    case SQLITE_CANTOPEN: return {Code::kIo, "cannot open " + path_ + " (" + detail + ")"};
    case SQLITE_IOERR:
      return {Code::kIo,
              "input/output error on " + path_ + ": " + std::strerror(sqlite3_system_errno(db_)) + " (" + detail + ")"};
    default: return {Code::kIo, path_ + ": " + detail};
  }
}

Status SqliteBackend::exec(const char* sql) {
  const int code = sqlite3_exec(db_, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return fail(error(code));
  return {};
}

Status SqliteBackend::run(const Statement& statement) {
  Use use(statement);
  const int code = use.step();
  if (code != SQLITE_DONE && code != SQLITE_ROW) return fail(error(code));
  return {};
}

Status SqliteBackend::open_file(const std::string& name, int flags, const char* vfs) {
  const int code = sqlite3_open_v2(name.c_str(), &db_, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, vfs);
  if (code != SQLITE_OK) return fail(error(code));
  sqlite3_extended_result_codes(db_, 1);
  return {};
}

// Opens what SQLite could not open for writing. An exclusive lock (fcntl(2)) needs a file that is open for writing, and
// reading a write-ahead log without one needs a file of shared memory beside it; but nobody can write here, so it goes
// without locks (https://www.sqlite.org/vfs.html). A log that is not there cannot be made: the file is whole then,
// and said to be immutable (https://www.sqlite.org/uri.html).
Status SqliteBackend::open_read_only() {
  if (::access((path_ + "-wal").c_str(), F_OK) == 0) return open_file(path_, SQLITE_OPEN_READONLY, "unix-none");
  return open_file("file:" + url_encode(path_) + "?immutable=1", SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, nullptr);
}

Status SqliteBackend::open() {
  BRUME_CHECK(open_file(path_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr));
  const bool read_only = sqlite3_db_readonly(db_, "main") == 1;
  if (read_only) {
    BRUME_CHECK(close());
    BRUME_CHECK(open_read_only());
  }
  BRUME_CHECK(exec(kPragmas));
  if (!read_only) {
    BRUME_CHECK(exec(kWritePragmas));
  }
  BRUME_CHECK(check_format());
  BRUME_CHECK(exec(kSchema));
  BRUME_CHECK(prepare_all());
  BRUME_TRY(state_, load_state());
  return {};
}

Status SqliteBackend::check_format() {
  Statement version;
  if (const int code = version.prepare(db_, "PRAGMA user_version"); code != SQLITE_OK) return fail(error(code));
  Use use(version);
  if (const int code = use.step(); code != SQLITE_ROW) return fail(error(code));
  const auto found = use.integer(0);
  if (found > kFormat) {
    return fail(Code::kIo, path_ + " has format " + std::to_string(found) +
                               ", written by a newer brume; this one knows " + std::to_string(kFormat));
  }
  return found == kFormat ? Status() : exec("PRAGMA user_version=1");
}

Status SqliteBackend::prepare_all() {
  const std::array<std::pair<Statement*, const char*>, 17> statements{{
      {&begin_, "BEGIN IMMEDIATE"},
      {&commit_, "COMMIT"},
      {&rollback_, "ROLLBACK"},
      {&find_, "SELECT create_revision, mod_revision FROM live WHERE key=?1"},
      {&find_value_,
       "SELECT l.create_revision, l.mod_revision, h.value FROM live l JOIN history h ON h.revision=l.mod_revision "
       "WHERE l.key=?1"},
      {&insert_history_, "INSERT INTO history VALUES(?1,?2,?3,?4,?5,?6)"},
      {&put_live_,
       "INSERT INTO live VALUES(?1,?2,?3) ON CONFLICT(key) DO UPDATE SET create_revision=excluded.create_revision,"
       " mod_revision=excluded.mod_revision"},
      {&delete_live_, "DELETE FROM live WHERE key=?1"},
      {&drop_history_, "DELETE FROM history WHERE revision=?1"},
      {&put_meta_, "INSERT INTO meta VALUES(?1,?2) ON CONFLICT(name) DO UPDATE SET value=excluded.value"},
      {&get_meta_, "SELECT value FROM meta WHERE name=?1"},
      {&range_,
       "SELECT l.key, l.create_revision, l.mod_revision, h.value FROM live l JOIN history h ON "
       "h.revision=l.mod_revision"
       " WHERE l.key>=?1 AND (?2='' OR l.key<?2) ORDER BY l.key LIMIT ?3"},
      {&history_,
       "SELECT revision, key, deleted, create_revision, previous_revision, value FROM history WHERE revision>?1 ORDER "
       "BY revision"},
      {&compact_,
       "DELETE FROM history WHERE revision>?1 AND revision<=?2 AND NOT EXISTS(SELECT 1 FROM live WHERE "
       "live.key=history.key AND"
       " live.mod_revision=history.revision)"},
      {&max_revision_, "SELECT COALESCE(MAX(revision),0) FROM history"},
      {&count_after_, "SELECT COUNT(*) FROM history WHERE revision>?1"},
      {&nth_after_, "SELECT revision FROM history WHERE revision>?1 ORDER BY revision LIMIT 1 OFFSET ?2"},
  }};
  for (const auto& [statement, sql] : statements) {
    if (const int code = statement->prepare(db_, sql); code != SQLITE_OK) return fail(error(code));
  }
  return {};
}

// State -----------------------------------------------------------------------------------------------------------

Result<BackendState> SqliteBackend::load_state() {
  const auto get = [this](std::string_view name, std::int64_t fallback) -> Result<std::int64_t> {
    Use use(get_meta_);
    use.bind_text(name);
    const int code = use.step();
    if (code == SQLITE_DONE) return fallback;
    if (code != SQLITE_ROW) return fail(error(code));
    return use.integer(0);
  };
  BackendState state;
  BRUME_TRY(state.revision, get("revision", 0));
  BRUME_TRY(state.ceiling, get("ceiling", 0));
  BRUME_TRY(state.compacted, get("compacted", 0));
  BRUME_TRY(const auto clean, get("clean", 1));
  state.clean = clean != 0;
  // meta's revision is written by opening, closing and compacting; between them the newest event tells.
  Use newest(max_revision_);
  if (const int code = newest.step(); code != SQLITE_ROW) return fail(error(code));
  state.revision = std::max(state.revision, newest.integer(0));
  return state;
}

Status SqliteBackend::save_state(const BackendState& state) {
  const std::array<std::pair<std::string_view, std::int64_t>, 4> values{{{"revision", state.revision},
                                                                         {"ceiling", state.ceiling},
                                                                         {"compacted", state.compacted},
                                                                         {"clean", state.clean}}};
  for (const auto& [name, value] : values) {
    Use use(put_meta_);
    use.bind_text(name).bind(value);
    if (const int code = use.step(); code != SQLITE_DONE) return fail(error(code));
  }
  state_ = state;
  return {};
}

// Entries ---------------------------------------------------------------------------------------------------------

Result<std::optional<Entry>> SqliteBackend::find(const std::string& key, bool with_value) {
  Use use(with_value ? find_value_ : find_);
  use.bind_text(key);
  const int code = use.step();
  if (code == SQLITE_DONE) return std::optional<Entry>();
  if (code != SQLITE_ROW) return fail(error(code));
  return Entry{key, with_value ? use.bytes(2) : nullptr, use.integer(0), use.integer(1)};
}

Status SqliteBackend::apply(const Event& event) {
  const bool deleted = event.kind == Write::Kind::kDelete;
  {
    Use use(insert_history_);
    use.bind(event.revision).bind_text(event.key).bind(deleted ? 1 : 0).bind(event.create_revision);
    use.bind(event.previous_revision).bind_blob(*event.value);
    if (const int code = use.step(); code != SQLITE_DONE) return fail(error(code));
  }
  // A replaced version that compaction passed over because it was live then is dropped here.
  if (event.previous_revision > 0 && event.previous_revision <= state_.compacted) {
    Use use(drop_history_);
    use.bind(event.previous_revision);
    if (const int code = use.step(); code != SQLITE_DONE) return fail(error(code));
  }
  Use use(deleted ? delete_live_ : put_live_);
  use.bind_text(event.key);
  if (!deleted) use.bind(event.create_revision).bind(event.revision);
  if (const int code = use.step(); code != SQLITE_DONE) return fail(error(code));
  return {};
}

Result<Range> SqliteBackend::range(const std::string& prefix, const std::string& from, std::size_t limit) {
  Range out;
  const std::string end = prefix_end(prefix);
  const std::string& begin = std::max(prefix, from);
  Use use(range_);
  use.bind_text(begin).bind_text(end).bind(limit == 0 ? -1 : static_cast<std::int64_t>(limit) + 1);
  while (true) {
    const int code = use.step();
    if (code == SQLITE_DONE) return out;
    if (code != SQLITE_ROW) return fail(error(code));
    if (limit != 0 && out.entries.size() == limit) {
      out.more = true;
      return out;
    }
    out.entries.push_back({use.text(0), use.bytes(3), use.integer(1), use.integer(2)});
  }
}

Status SqliteBackend::history(const std::string& prefix, Revision after, const Sink& sink) {
  constexpr std::size_t kChunk = 256;
  std::vector<Event> chunk;
  Use use(history_);
  use.bind(after);
  while (true) {
    const int code = use.step();
    if (code != SQLITE_ROW && code != SQLITE_DONE) return fail(error(code));
    if (code == SQLITE_ROW) {
      Event event{use.integer(2) != 0 ? Write::Kind::kDelete : Write::Kind::kPut,
                  use.text(1),
                  nullptr,
                  use.integer(0),
                  use.integer(3),
                  use.integer(4)};
      if (!event.key.starts_with(prefix)) continue;
      event.value = use.bytes(5);
      chunk.push_back(std::move(event));
    }
    if (!chunk.empty() && (code == SQLITE_DONE || chunk.size() == kChunk)) {
      sink(chunk);
      chunk.clear();
    }
    if (code == SQLITE_DONE) return {};
  }
}

Result<Revision> SqliteBackend::count_after(Revision after) {
  Use use(count_after_);
  use.bind(after);
  if (const int code = use.step(); code != SQLITE_ROW) return fail(error(code));
  return use.integer(0);
}

Result<Revision> SqliteBackend::nth_after(Revision after, Revision n) {
  Use use(nth_after_);
  use.bind(after).bind(n - 1);
  const int code = use.step();
  if (code == SQLITE_DONE) return 0;
  if (code != SQLITE_ROW) return fail(error(code));
  return use.integer(0);
}

Status SqliteBackend::compact(Revision from, Revision upto) {
  Use use(compact_);
  use.bind(from).bind(upto);
  if (const int code = use.step(); code != SQLITE_DONE) return fail(error(code));
  return {};
}

// Volatile entries: only a clean close writes them ------------------------------------------------------------------

Result<std::vector<Entry>> SqliteBackend::load_volatile() {
  std::vector<Entry> entries;
  Statement all;
  if (const int code = all.prepare(db_, "SELECT key, create_revision, mod_revision, value FROM volatile");
      code != SQLITE_OK) {
    return fail(error(code));
  }
  Use use(all);
  while (true) {
    const int code = use.step();
    if (code == SQLITE_DONE) return entries;
    if (code != SQLITE_ROW) return fail(error(code));
    entries.push_back({use.text(0), use.bytes(3), use.integer(1), use.integer(2)});
  }
}

Status SqliteBackend::save_volatile(const std::vector<Entry>& entries) {
  BRUME_CHECK(exec("DELETE FROM volatile"));
  Statement insert;
  if (const int code = insert.prepare(db_, "INSERT INTO volatile VALUES(?1,?2,?3,?4)"); code != SQLITE_OK)
    return fail(error(code));
  for (const auto& entry : entries) {
    Use use(insert);
    use.bind_text(entry.key).bind(entry.create_revision).bind(entry.mod_revision).bind_blob(*entry.value);
    if (const int code = use.step(); code != SQLITE_DONE) return fail(error(code));
  }
  return {};
}

Status SqliteBackend::close() {
  if (db_ == nullptr) return {};
  for (Statement* statement : {&begin_, &commit_, &rollback_, &find_, &find_value_, &insert_history_, &put_live_,
                               &delete_live_, &drop_history_, &put_meta_, &get_meta_, &range_, &history_, &compact_,
                               &max_revision_, &count_after_, &nth_after_}) {
    statement->finalize();
  }
  const int code = sqlite3_close(std::exchange(db_, nullptr));
  return code == SQLITE_OK ? Status() : fail(Code::kIo, "closing " + path_ + ": " + sqlite3_errstr(code));
}

}  // namespace

Result<std::unique_ptr<Backend>> open_sqlite_backend(const std::string& path) {
  auto backend = std::make_unique<SqliteBackend>(path);
  BRUME_CHECK(backend->open());
  return backend;
}

}  // namespace brume::store
