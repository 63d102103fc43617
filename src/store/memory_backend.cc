// A backend in memory, with undo for rollback.
#include <map>

#include "store/backend.h"

namespace brume::store {

namespace {

constexpr std::size_t kHistoryChunk = 256;

class MemoryBackend final : public Backend {
 public:
  BackendState state() const override { return state_; }

  Status begin() override {
    undo_.clear();
    saved_state_ = state_;
    return {};
  }
  Status commit() override {
    undo_.clear();
    return {};
  }
  void rollback() override {
    state_ = saved_state_;
    for (auto it = undo_.rbegin(); it != undo_.rend(); ++it) {
      history_.erase(it->revision);
      if (const auto& before = it->before) {
        live_[it->key] = *before;
      } else {
        live_.erase(it->key);
      }
    }
    undo_.clear();
  }

  Result<std::optional<Entry>> find(const std::string& key, bool /*with_value*/) override {
    const auto it = live_.find(key);
    return it == live_.end() ? std::nullopt : std::optional(it->second);
  }

  Status apply(const Event& event) override {
    const auto it = live_.find(event.key);
    undo_.push_back({event.revision, event.key, it == live_.end() ? std::nullopt : std::optional(it->second)});
    if (event.kind == Write::Kind::kDelete) {
      live_.erase(event.key);
    } else {
      live_[event.key] = {event.key, event.value, event.create_revision, event.revision};
    }
    history_[event.revision] = event;
    return {};
  }

  Status save_state(const BackendState& state) override {
    state_ = state;
    return {};
  }

  Result<Range> range(const std::string& prefix, const std::string& from, std::size_t limit) override {
    Range out;
    const std::string end = prefix_end(prefix);
    for (auto it = live_.lower_bound(std::max(prefix, from)); it != live_.end(); ++it) {
      if (!end.empty() && it->first >= end) break;
      if (limit != 0 && out.entries.size() == limit) {
        out.more = true;
        break;
      }
      out.entries.push_back(it->second);
    }
    return out;
  }

  Status history(const std::string& prefix, Revision after, const Sink& sink) override {
    std::vector<Event> chunk;
    for (auto it = history_.upper_bound(after); it != history_.end(); ++it) {
      if (it->second.key.starts_with(prefix)) chunk.push_back(it->second);
      if (chunk.size() == kHistoryChunk) {
        sink(chunk);
        chunk.clear();
      }
    }
    if (!chunk.empty()) sink(chunk);
    return {};
  }

  Result<Revision> count_after(Revision after) override {
    return std::distance(history_.upper_bound(after), history_.end());
  }

  Result<Revision> nth_after(Revision after, Revision n) override {
    auto it = history_.upper_bound(after);
    while (--n > 0 && it != history_.end()) ++it;
    return it == history_.end() ? 0 : it->first;
  }

  Status compact(Revision from, Revision upto) override {
    history_.erase(history_.upper_bound(from), history_.upper_bound(upto));
    return {};
  }

  Result<std::vector<Entry>> load_volatile() override { return volatile_; }
  Status save_volatile(const std::vector<Entry>& entries) override {
    volatile_ = entries;
    return {};
  }
  Status close() override { return {}; }

 private:
  struct Undo {
    Revision revision;
    std::string key;
    std::optional<Entry> before;
  };
  BackendState state_;
  BackendState saved_state_;
  std::map<std::string, Entry> live_;
  std::map<Revision, Event> history_;
  std::vector<Undo> undo_;
  std::vector<Entry> volatile_;
};

}  // namespace

std::unique_ptr<Backend> open_memory_backend() { return std::make_unique<MemoryBackend>(); }

}  // namespace brume::store
