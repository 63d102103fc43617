#include "watcher.h"

namespace brume::apiserver {

void Watcher::replay(WatchEvent event) {
  const std::lock_guard lock(mutex_);
  queue_.push_back(std::move(event));
}

void Watcher::push(WatchEvent event, PostBatch& wakes) {
  const std::lock_guard lock(mutex_);
  if (!cut_reason_.empty()) return;
  const std::size_t size = event.object ? event.object->bytes().size() : 0;
  if (!queue_.empty() && (queue_.size() >= max_events_ || bytes_ + size > max_bytes_)) {
    cut_reason_ = "the watcher was too slow";
    queue_.clear();
    queue_.shrink_to_fit();
    bytes_ = 0;
  } else {
    queue_.push_back(std::move(event));
    bytes_ += size;
  }
  wake_locked(wakes);
}

void Watcher::cut(std::string reason, PostBatch& wakes) {
  const std::lock_guard lock(mutex_);
  if (cut_reason_.empty()) cut_reason_ = std::move(reason);
  wake_locked(wakes);
}

Result<std::vector<WatchEvent>> Watcher::take() {
  const std::lock_guard lock(mutex_);
  if (queue_.empty() && !cut_reason_.empty()) return fail(Code::kServiceUnavailable, cut_reason_);
  bytes_ = 0;
  return std::exchange(queue_, {});
}

bool Watcher::idle() const {
  const std::lock_guard lock(mutex_);
  return queue_.empty();
}

void Watcher::wake_locked(PostBatch& wakes) {
  if (wake_posted_) return;
  wake_posted_ = true;
  wakes.add(executor_, [self = shared_from_this()] {
    {
      const std::lock_guard lock(self->mutex_);
      self->wake_posted_ = false;
    }
    if (self->wake_ != nullptr) self->wake_->notify();
  });
}

}  // namespace brume::apiserver
