#include "brume/http/stream.h"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <deque>
#include <string>
#include <vector>

#include "brume/base/task.h"
#include "deadline.h"

namespace brume::http {

namespace {

constexpr std::size_t kCopyBuffer = 32 * 1024;
constexpr std::size_t kPipeCapacity = 256 * 1024;

// Copies until the end or a failure; says which.
Task<bool> copy(Stream& from, Stream& to) {
  std::vector<char> buffer(kCopyBuffer);
  while (true) {
    auto count = co_await from.read(buffer);
    if (!count) co_return false;
    if (*count == 0) break;
    if (auto written = co_await to.write({buffer.data(), *count}); !written) co_return false;
  }
  auto ended = co_await to.close_write();
  co_return ended.has_value();
}

struct SpliceState {
  int running = 2;
  bool failed = false;
  Event changed;
  explicit SpliceState(const Executor& executor) : changed(executor) {}
};

Task<void> splice_one_way(Stream* from, Stream* to, std::shared_ptr<SpliceState> state) {
  if (!co_await copy(*from, *to)) state->failed = true;
  --state->running;
  state->changed.notify();
}

/// One direction of a pair: bytes wait here until read.
struct Pipe {
  explicit Pipe(const Executor& executor) : changed(executor) {}
  std::string bytes;
  bool ended = false;   // the writer will write no more
  bool closed = false;  // either side closed both ways
  Condition changed;
};

class PairStream final : public Stream {
 public:
  PairStream(std::shared_ptr<Pipe> in, std::shared_ptr<Pipe> out) : in_(std::move(in)), out_(std::move(out)) {}
  ~PairStream() override { PairStream::close(); }

  Task<Result<std::size_t>> read(std::span<char> buffer) override {
    auto in = in_;
    while (in->bytes.empty() && !in->ended && !closed_) co_await in->changed.wait();
    if (closed_) co_return fail(Code::kCancelled, "the stream was closed");
    const auto count = std::min(buffer.size(), in->bytes.size());
    std::copy_n(in->bytes.data(), count, buffer.data());
    in->bytes.erase(0, count);
    in->changed.notify_all();
    co_return count;
  }

  Task<Status> write(std::string_view bytes) override {
    auto out = out_;
    while (!bytes.empty()) {
      if (closed_ || out->ended) co_return fail(Code::kCancelled, "the stream was closed");
      if (out->closed) co_return fail(Code::kIo, "write: the peer closed the stream");
      if (out->bytes.size() >= kPipeCapacity) {
        co_await out->changed.wait();
        continue;
      }
      const auto part = bytes.substr(0, kPipeCapacity - out->bytes.size());
      out->bytes.append(part);
      bytes.remove_prefix(part.size());
      out->changed.notify_all();
    }
    co_return Status();
  }

  Task<Status> close_write() override {
    out_->ended = true;
    out_->changed.notify_all();
    co_return Status();
  }

  void close() override {
    closed_ = true;
    out_->ended = true;
    in_->closed = true;
    in_->changed.notify_all();
    out_->changed.notify_all();
  }

 private:
  std::shared_ptr<Pipe> in_;
  std::shared_ptr<Pipe> out_;
  bool closed_ = false;
};

}  // namespace

Task<void> splice(Stream& a, Stream& b) {
  const Executor executor = co_await boost::asio::this_coro::executor;
  TaskGroup group(executor);
  auto state = std::make_shared<SpliceState>(executor);
  group.spawn("splice", splice_one_way(&a, &b, state));
  group.spawn("splice", splice_one_way(&b, &a, state));
  co_await boost::asio::this_coro::throw_if_cancelled(false);
  bool cancelled = false;
  try {
    while (state->running > 0 && !state->failed) co_await state->changed.wait();
  } catch (const boost::system::system_error&) {
    cancelled = true;  // Event says so when this task is cancelled
  }
  a.close();
  b.close();
  co_await drain(group);
  if (cancelled) throw boost::system::system_error(boost::asio::error::operation_aborted);
}

std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>> stream_pair(const Executor& executor) {
  auto one = std::make_shared<Pipe>(executor);
  auto two = std::make_shared<Pipe>(executor);
  return {std::make_unique<PairStream>(one, two), std::make_unique<PairStream>(two, one)};
}

}  // namespace brume::http
