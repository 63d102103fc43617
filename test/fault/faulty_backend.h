// A backend that fails on demand: the full disk, the read-only disk and the torn commit of the fault tests.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "store/backend.h"

namespace brume::store::test {

struct Faults {
  int fail_commits = 0;            ///< how many of the next commits fail
  int fail_applies = 0;            ///< how many of the next applied events fail
  int fail_compactions = 0;        ///< how many of the next compactions fail
  int fail_histories = 0;          ///< how many of the next readings of history fail
  std::function<void()> in_range;  ///< called in a reading of a range, on the store's thread
  Error error{Code::kIo, "disk full: injected"};
};

/// Passes everything to `inner` but what `faults` says. `faults` outlives it; it is set between writes only.
class FaultyBackend final : public Backend {
 public:
  FaultyBackend(std::unique_ptr<Backend> inner, Faults& faults) : inner_(std::move(inner)), faults_(faults) {}
  BackendState state() const override { return inner_->state(); }
  Status begin() override { return inner_->begin(); }
  Status commit() override {
    if (faults_.fail_commits > 0) {
      --faults_.fail_commits;
      return fail(faults_.error);
    }
    return inner_->commit();
  }
  void rollback() override { inner_->rollback(); }
  Result<std::optional<Entry>> find(const std::string& key, bool with_value) override {
    return inner_->find(key, with_value);
  }
  Status apply(const Event& event) override {
    if (faults_.fail_applies > 0) {
      --faults_.fail_applies;
      return fail(faults_.error);
    }
    return inner_->apply(event);
  }
  Status save_state(const BackendState& state) override { return inner_->save_state(state); }
  Result<Range> range(const std::string& prefix, const std::string& from, std::size_t limit) override {
    if (faults_.in_range) faults_.in_range();
    return inner_->range(prefix, from, limit);
  }
  Status history(const std::string& prefix, Revision after, const Sink& sink) override {
    if (faults_.fail_histories > 0) {
      --faults_.fail_histories;
      return fail(faults_.error);
    }
    return inner_->history(prefix, after, sink);
  }
  Result<Revision> count_after(Revision after) override { return inner_->count_after(after); }
  Result<Revision> nth_after(Revision after, Revision n) override { return inner_->nth_after(after, n); }
  Status compact(Revision from, Revision upto) override {
    if (faults_.fail_compactions > 0) {
      --faults_.fail_compactions;
      return fail(faults_.error);
    }
    return inner_->compact(from, upto);
  }
  Result<std::vector<Entry>> load_volatile() override { return inner_->load_volatile(); }
  Status save_volatile(const std::vector<Entry>& entries) override { return inner_->save_volatile(entries); }
  Status close() override { return inner_->close(); }

 private:
  std::unique_ptr<Backend> inner_;
  Faults& faults_;
};

}  // namespace brume::store::test
