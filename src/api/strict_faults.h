// What strict decoding has against a request's body.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace brume::api {

/// Each fault once, and no more of them than a client can use: a fault's text is as long as the keys on its path, so
/// all those of a body made for it would take a thousand times the body's memory.
class StrictFaults {
 public:
  /// Nothing more is taken: whoever would have to write a path first need not.
  [[nodiscard]] bool full() const { return faults_.size() >= kMost || written_ >= kMostBytes; }
  void add(std::string fault) {
    if (full()) return;
    written_ += fault.size();
    if (std::ranges::find(faults_, fault) == faults_.end()) faults_.push_back(std::move(fault));
  }
  std::vector<std::string> take() { return std::move(faults_); }

 private:
  static constexpr std::size_t kMost = 100;  // as sigs.k8s.io/json keeps
  static constexpr std::size_t kMostBytes = 64 * 1024;
  std::vector<std::string> faults_;
  std::size_t written_ = 0;  // repeated ones too
};

}  // namespace brume::api
