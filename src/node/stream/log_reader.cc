#include "stream/log_reader.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <limits>

#include "brume/base/task.h"
#include "brume/linux/fd.h"
#include "brume/linux/inotify.h"
#include "stream/log_file.h"

namespace brume::node {

namespace asio = boost::asio;

struct LogFollowers::Waiter {
  explicit Waiter(asio::posix::stream_descriptor& d) : descriptor(d) {}
  asio::posix::stream_descriptor& descriptor;
  bool woken = false;
};

void LogFollowers::wake() {
  for (Waiter* waiter : waiters) {
    waiter->woken = true;
    boost::system::error_code ignored;
    (void)waiter->descriptor.cancel(ignored);
  }
}

namespace {

constexpr std::size_t kBlock = 64 << 10;
constexpr std::uint64_t kNoEnd = std::numeric_limits<std::uint64_t>::max();

Result<linux_os::Fd> open_log(const std::string& path) {
  BRUME_TRY(linux_os::Fd fd, linux_os::open_fd(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  struct stat st = {};
  if (::fstat(fd.get(), &st) != 0) return fail_errno(errno, "stat " + path);
  if (!S_ISREG(st.st_mode)) return fail(Code::kForbidden, path + " is not a regular file");
  return fd;
}

// Turns raw bytes of the file into what the client gets, keeping the unfinished line for the next call.
class Formatter {
 public:
  explicit Formatter(const LogOptions& options) : options_(options), left_(options.limit_bytes) {}

  std::string feed(std::string_view raw) {
    rest_ += raw;
    std::string out;
    std::size_t begin = 0;
    for (auto end = rest_.find('\n'); end != std::string::npos && !full(); end = rest_.find('\n', begin)) {
      add(out, std::string_view(rest_).substr(begin, end - begin));
      begin = end + 1;
    }
    rest_.erase(0, begin);
    return out;
  }
  [[nodiscard]] bool full() const { return left_ && *left_ <= 0; }

 private:
  void add(std::string& out, std::string_view raw) {
    const auto line = parse_log_line(raw);
    if (!line) return;
    if (options_.stream == "Stdout" && line->is_stderr) return;
    if (options_.stream == "Stderr" && !line->is_stderr) return;
    if (options_.since && !passed_) {
      const auto time = parse_rfc3339(line->time);
      if (time && *time < *options_.since) return;
      passed_ = true;
    }
    std::string text;
    if (options_.timestamps && !in_line_) text.append(line->time).append(" ");
    text += line->text;
    if (!line->partial) text += '\n';
    in_line_ = line->partial;
    if (left_) {
      if (static_cast<std::int64_t>(text.size()) > *left_) text.resize(static_cast<std::size_t>(*left_));
      *left_ -= static_cast<std::int64_t>(text.size());
    }
    out += text;
  }

  const LogOptions& options_;
  std::optional<std::int64_t> left_;
  std::string rest_;
  bool passed_ = false;
  bool in_line_ = false;
};

struct Block {
  std::string bytes;
  Status status;
};

Block read_block(int fd, std::uint64_t most) {
  Block block;
  block.bytes.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kBlock, most)));
  const ssize_t n = ::read(fd, block.bytes.data(), block.bytes.size());
  if (n < 0) block.status = fail_errno(errno, "read log");
  block.bytes.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return block;
}

bool was_replaced(int fd, const std::string& path) {
  struct stat mine = {};
  struct stat named = {};
  if (::fstat(fd, &mine) != 0 || ::lstat(path.c_str(), &named) != 0) return false;
  return mine.st_ino != named.st_ino || mine.st_dev != named.st_dev;
}

// Everything up to the end of the file, but `left` bytes at most: a container may write as fast as a client reads.
Task<Status> drain(int fd, Formatter& formatter, const LogSink& sink, std::uint64_t left) {
  while (left > 0 && !formatter.full()) {
    Block block = co_await run_blocking([fd, left] { return read_block(fd, left); });
    if (!block.status) co_return block.status;
    if (block.bytes.empty()) co_return Status();
    left -= block.bytes.size();
    const std::string text = formatter.feed(block.bytes);
    if (text.empty()) continue;
    auto sent = co_await sink(text);
    if (!sent) co_return sent;
  }
  co_return Status();
}

Task<Status> follow(std::string path, linux_os::Fd fd, Formatter& formatter, std::function<bool()> running,
                    LogSink sink, LogFollowers& followers) {
  auto inotify = linux_os::Inotify::create();
  if (!inotify) co_return fail(std::move(inotify).error());
  // Of the folder, so that writes to the file and its replacement both show.
  auto watch = inotify->add(path.substr(0, path.rfind('/')), IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM);
  if (!watch) co_return fail(std::move(watch).error());
  const int copy = ::dup(inotify->fd());
  if (copy < 0) co_return fail_errno(errno, "dup");
  asio::posix::stream_descriptor descriptor(co_await asio::this_coro::executor, copy);
  LogFollowers::Waiter waiter(descriptor);
  struct Registration {
    LogFollowers& followers;
    std::list<LogFollowers::Waiter*>::iterator it;
    ~Registration() { followers.waiters.erase(it); }
  } registration{followers, followers.waiters.insert(followers.waiters.end(), &waiter)};
  while (true) {
    // Asked before reading: what the container wrote before its end is then surely read.
    const bool alive = running();
    waiter.woken = false;
    auto drained = co_await drain(fd.get(), formatter, sink, kNoEnd);
    if (!drained || formatter.full()) co_return drained;
    if (was_replaced(fd.get(), path)) {
      if (auto next = open_log(path)) {
        fd = *std::move(next);
        continue;
      }
    }
    if (!alive) co_return Status();
    if (!waiter.woken) {
      boost::system::error_code ec;
      co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                     asio::redirect_error(asio::use_awaitable, ec));
      if (ec && ec != asio::error::operation_aborted) co_return fail(Code::kIo, "wait for log: " + ec.message());
    }
    (void)inotify->read_events();
  }
}

}  // namespace

Task<Status> read_log(std::string path, LogOptions options, std::function<bool()> running, LogSink sink,
                      LogFollowers& followers) {
  auto fd = open_log(path);
  if (!fd) co_return fail(std::move(fd).error());
  const int number = fd->get();
  struct stat st = {};
  if (::fstat(number, &st) != 0) co_return fail_errno(errno, "stat " + path);
  const auto size = static_cast<std::uint64_t>(st.st_size);
  std::uint64_t begin = 0;
  if (options.tail_lines) {
    const std::int64_t lines = *options.tail_lines;
    begin = co_await run_blocking([number, size, lines] { return tail_offset(number, size, lines); });
    if (::lseek(number, static_cast<off_t>(begin), SEEK_SET) < 0) co_return fail_errno(errno, "seek " + path);
  }
  Formatter formatter(options);
  if (options.follow) {
    co_return co_await follow(std::move(path), *std::move(fd), formatter, std::move(running), std::move(sink),
                              followers);
  }
  co_return co_await drain(number, formatter, sink, size - begin);
}

}  // namespace brume::node
