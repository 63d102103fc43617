#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "brume/base/log.h"
#include "brume/base/task.h"
#include "brume/http/spdy.h"
#include "deadline.h"
#include "spdy_frame.h"

namespace brume::http {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t kReadSize = 32 * 1024;
constexpr std::size_t kDataFrame = 32 * 1024;
// Bytes waiting to be written to the transport before writers of streams wait.
constexpr std::size_t kMaxOut = 256 * 1024;
// Unread bytes of one stream, and of all, before the session stops reading its transport. spdystream keeps to no
// window, so TCP's back-pressure is what bounds it.
constexpr std::size_t kMaxIn = 1 << 20;
constexpr std::size_t kMaxInTotal = 4 << 20;
constexpr std::size_t kMaxStreams = 512;

struct StreamState {
  StreamState(std::uint32_t number, Headers fields, const Executor& executor)
      : id(number), headers(std::move(fields)), changed(executor) {}
  std::uint32_t id;
  Headers headers;
  std::string in;
  std::size_t in_at = 0;
  std::size_t unacknowledged = 0;  // read by the owner, not yet given back as window
  std::int64_t send_window = spdy::kInitialWindow;
  bool remote_done = false;  // FIN came
  bool local_done = false;   // FIN went
  bool reset = false;        // RST_STREAM came
  bool closed = false;       // close() was called here
  bool dropped = false;      // the owner let go of it: what still comes is thrown away
  Condition changed;
  [[nodiscard]] std::size_t unread() const { return in.size() - in_at; }
};

using StreamPtr = std::shared_ptr<StreamState>;

/// The session itself. Tasks hold a plain pointer: it outlives them, see ~Session and retire().
class State {
 public:
  State(std::unique_ptr<Stream> transport, const Executor& executor, Farewell farewell)
      : executor_(executor),
        farewell_(farewell),
        tasks_(executor),
        transport_(std::move(transport)),
        out_ready_(executor),
        out_drained_(executor),
        accepted_(executor),
        in_drained_(executor) {}

  void start() {
    tasks_.spawn("spdy reader", read_frames());
    tasks_.spawn("spdy writer", write_out());
  }
  TaskGroup& tasks() { return tasks_; }

  Task<Result<StreamPtr>> accept() {
    while (waiting_.empty()) {
      if (ended_) co_return fail(Code::kCancelled, "the SPDY session ended");
      co_await accepted_.wait();
    }
    auto stream = std::move(waiting_.front());
    waiting_.pop_front();
    co_return stream;
  }

  Task<Result<std::size_t>> read(StreamPtr stream, std::span<char> buffer) {
    while (stream->unread() == 0 || stream->closed) {
      if (stream->closed) co_return fail(Code::kCancelled, "the stream was closed");
      if (stream->remote_done) co_return std::size_t(0);
      if (stream->reset) co_return fail(Code::kIo, "the peer reset the SPDY stream");
      if (ended_) co_return fail(Code::kIo, "the SPDY session ended");
      co_await stream->changed.wait();
    }
    const auto count = std::min(buffer.size(), stream->unread());
    std::copy_n(stream->in.data() + stream->in_at, count, buffer.data());
    stream->in_at += count;
    if (stream->unread() == 0) {
      stream->in.clear();
      stream->in_at = 0;
    }
    acknowledge(*stream, count);
    co_return count;
  }

  Task<Status> write(StreamPtr stream, std::string_view bytes) {
    while (!bytes.empty()) {
      BRUME_CO_CHECK(check_writable(*stream));
      const auto room = send_room(*stream);
      if (out_.size() >= kMaxOut || room == 0) {
        co_await (room == 0 ? stream->changed : out_drained_).wait();
        continue;
      }
      const auto part = bytes.substr(0, std::min(room, kDataFrame));
      stream->send_window -= static_cast<std::int64_t>(part.size());
      session_window_ -= static_cast<std::int64_t>(part.size());
      spdy::append_data(out_, stream->id, 0, part);
      out_ready_.notify();
      bytes.remove_prefix(part.size());
    }
    co_return Status();
  }

  Status finish(StreamState& stream) {
    if (stream.local_done) return {};
    BRUME_CHECK(check_writable(stream));
    stream.local_done = true;
    spdy::append_data(out_, stream.id, spdy::kFlagFin, {});
    out_ready_.notify();
    forget_if_done(stream);
    return {};
  }

  void close(StreamState& stream) {
    if (stream.closed) return;
    stream.closed = true;
    discard(stream);
    if (!ended_ && !stream.reset && !(stream.local_done && stream.remote_done))
      send_reset(stream.id, spdy::kStatusCancel);
    streams_.erase(stream.id);
    stream.changed.notify_all();
  }

  // The owner is gone. A stream that we finished is left to the peer to finish; any other is reset.
  void drop(StreamState& stream) {
    if (stream.closed) return;
    if (!stream.local_done) {
      close(stream);
      return;
    }
    stream.dropped = true;
    discard(stream);
  }

  Task<void> stop() {
    if (!ended_) {
      std::string payload;
      spdy::append_u32(payload, last_stream_);
      spdy::append_u32(payload, 0);
      spdy::append_control(out_, spdy::Type::kGoAway, 0, payload);
      stopping_ = true;
      out_ready_.notify();
      // The peer must get what was written (an exit status, say) before the transport goes: written out, half-closed by
      // the writer, then the peer's own end is awaited.
      stop_deadline_.emplace(executor_, farewell_, [this] { transport_->close(); });
      while (!ended_) co_await accepted_.wait();
      stop_deadline_.reset();
    }
    end();
    transport_->close();
    co_await drain(tasks_);
  }

  void abandon() {
    end();
    transport_->close();
  }

 private:
  // Outgoing --------------------------------------------------------------------------------------------------------

  Status check_writable(const StreamState& stream) const {
    if (stream.closed || stream.local_done) return fail(Code::kCancelled, "the stream was closed");
    if (stream.reset) return fail(Code::kIo, "the peer reset the SPDY stream");
    if (ended_ || stopping_) return fail(Code::kIo, "the SPDY session ended");
    return {};
  }

  // What may be sent on the stream now. spdystream sends no WINDOW_UPDATE at all, so a window binds only once the peer
  // has shown that it gives windows back.
  [[nodiscard]] std::size_t send_room(const StreamState& stream) const {
    auto room = static_cast<std::int64_t>(kDataFrame);
    if (peer_updates_streams_) room = std::min(room, stream.send_window);
    if (peer_updates_session_) room = std::min(room, session_window_);
    return static_cast<std::size_t>(std::max<std::int64_t>(room, 0));
  }

  void send_u32_pair(spdy::Type type, std::uint32_t first, std::uint32_t second) {
    std::string payload;
    spdy::append_u32(payload, first);
    spdy::append_u32(payload, second);
    spdy::append_control(out_, type, 0, payload);
    out_ready_.notify();
  }
  void send_reset(std::uint32_t stream, std::uint32_t status) { send_u32_pair(spdy::Type::kRstStream, stream, status); }

  Task<void> write_out() {
    std::string sending;
    while (!ended_) {
      if (out_.empty()) {
        if (stopping_) {
          (void)co_await transport_->close_write();
          co_return;
        }
        co_await out_ready_.wait();
        continue;
      }
      sending.clear();
      std::swap(sending, out_);
      out_drained_.notify_all();
      auto written = co_await transport_->write(sending);
      if (sending.capacity() > 2 * kMaxOut) sending = std::string();
      if (!written) break;
      hear();
    }
    end();
    transport_->close();
  }

  // Incoming --------------------------------------------------------------------------------------------------------

  void hear() {
    if (stop_deadline_) stop_deadline_->hear();
  }

  // Gives `count` bytes back to the windows of the stream and the session, in steps of half a window.
  void acknowledge(StreamState& stream, std::size_t count) {
    unread_total_ -= count;
    in_drained_.notify_all();
    if (ended_) return;
    stream.unacknowledged += count;
    session_unacknowledged_ += count;
    if (stream.unacknowledged >= spdy::kInitialWindow / 2 && !stream.remote_done && !stream.reset && !stream.closed) {
      send_u32_pair(spdy::Type::kWindowUpdate, stream.id, static_cast<std::uint32_t>(stream.unacknowledged));
      stream.unacknowledged = 0;
    }
    if (session_unacknowledged_ >= spdy::kInitialWindow / 2) {
      send_u32_pair(spdy::Type::kWindowUpdate, 0, static_cast<std::uint32_t>(session_unacknowledged_));
      session_unacknowledged_ = 0;
    }
  }

  void discard(StreamState& stream) {
    const auto unread = stream.unread();
    stream.in = std::string();
    stream.in_at = 0;
    if (unread > 0) acknowledge(stream, unread);
    in_drained_.notify_all();
  }

  void forget_if_done(const StreamState& stream) {
    if (stream.local_done && stream.remote_done) streams_.erase(stream.id);
  }

  void end() {
    if (ended_) return;
    ended_ = true;
    for (auto& [id, stream] : streams_) stream->changed.notify_all();
    accepted_.notify_all();
    out_drained_.notify_all();
    in_drained_.notify_all();
    out_ready_.notify();
  }

  StreamPtr find(std::uint32_t id) const {
    const auto it = streams_.find(id);
    return it == streams_.end() ? nullptr : it->second;
  }

  Task<void> read_frames() {
    auto failed = co_await read_until_end();
    if (!failed) {
      log::debug("SPDY session failed", {{"error", failed.error().message}});
      if (failed.error().code == Code::kCorrupt) {
        send_u32_pair(spdy::Type::kGoAway, last_stream_, spdy::kStatusProtocolError);
        stopping_ = true;
        co_await out_drained_.wait();  // the writer took it
      }
    }
    end();
    if (!failed) transport_->close();
  }

  Task<Status> read_until_end() {
    while (true) {
      if (in_.size() < spdy::kHeadSize) {
        BRUME_CO_TRY(const bool more, co_await fill());
        if (!more) co_return Status();
        continue;
      }
      const auto head = spdy::parse_head(in_);
      if (!head.control) {
        in_.erase(0, spdy::kHeadSize);
        BRUME_CO_TRY(const bool whole, co_await on_data(head));
        if (!whole) co_return Status();
        continue;
      }
      if (head.version != 3) co_return fail(Code::kCorrupt, "SPDY: another version");
      if (head.size > spdy::kMaxControl) co_return fail(Code::kCorrupt, "SPDY: the control frame is too big");
      if (in_.size() < spdy::kHeadSize + head.size) {
        BRUME_CO_TRY(const bool more, co_await fill());
        if (!more) co_return Status();
        continue;
      }
      BRUME_CO_CHECK(on_control(head, std::string_view(in_).substr(spdy::kHeadSize, head.size)));
      in_.erase(0, spdy::kHeadSize + head.size);
      // A peer that makes us answer (pings, refused streams) without reading the answers is not read on.
      while (out_.size() > 2 * kMaxOut && !ended_) co_await out_drained_.wait();
    }
  }

  Task<Result<bool>> fill() {
    const auto had = in_.size();
    in_.resize(had + kReadSize);
    auto count = co_await transport_->read(std::span(in_).subspan(had));
    in_.resize(had + (count ? *count : 0));
    if (!count) co_return fail(count.error());
    hear();
    co_return *count > 0;
  }

  // The payload is passed on as it comes: a frame may be 16 MiB.
  Task<Result<bool>> on_data(spdy::Head head) {
    auto stream = find(head.stream);
    if (!stream || stream->remote_done) {
      if (!stream && head.stream > last_stream_) co_return fail(Code::kCorrupt, "SPDY: data for a stream never opened");
      stream = nullptr;  // of a stream that ended here meanwhile: skip
    }
    for (std::size_t left = head.size; left > 0;) {
      if (in_.empty()) {
        BRUME_CO_TRY(const bool more, co_await fill());
        if (!more) co_return false;
      }
      const auto part = std::string_view(in_).substr(0, left);
      left -= part.size();
      if (stream && !stream->closed && !stream->dropped) {
        stream->in.append(part);
        unread_total_ += part.size();
        stream->changed.notify_all();
      } else {
        unread_total_ += part.size();
        StreamState nobody(0, {}, executor_);
        nobody.closed = true;
        acknowledge(stream ? *stream : nobody, part.size());
      }
      in_.erase(0, part.size());
      while (!ended_ && ((stream && stream->unread() >= kMaxIn) || unread_total_ >= kMaxInTotal)) {
        co_await in_drained_.wait();
      }
    }
    if (stream && (head.flags & spdy::kFlagFin) != 0) finish_remote(*stream);
    co_return true;
  }

  void finish_remote(StreamState& stream) {
    stream.remote_done = true;
    stream.changed.notify_all();
    forget_if_done(stream);
  }

  Status on_control(const spdy::Head& head, std::string_view payload) {
    const auto needs = [&](std::size_t size) { return payload.size() >= size; };
    const auto bad = [] { return fail(Code::kCorrupt, "SPDY: malformed control frame"); };
    switch (static_cast<spdy::Type>(head.type)) {
      case spdy::Type::kSynStream:
        if (!needs(10)) return bad();
        return on_syn_stream(head, payload);
      case spdy::Type::kSynReply: return bad();  // we open no streams
      case spdy::Type::kHeaders: {
        if (!needs(4)) return bad();
        BRUME_TRY(auto more, headers_in_.read(payload.substr(4)));  // read even if unused: the zlib state runs on
        const auto stream = find(spdy::read_u32(payload, 0) & 0x7FFF'FFFFU);
        if (stream && (head.flags & spdy::kFlagFin) != 0) finish_remote(*stream);
        return {};
      }
      case spdy::Type::kRstStream: {
        if (!needs(8)) return bad();
        if (const auto stream = find(spdy::read_u32(payload, 0) & 0x7FFF'FFFFU)) {
          stream->reset = true;
          streams_.erase(stream->id);
          stream->changed.notify_all();
          in_drained_.notify_all();
        }
        return {};
      }
      case spdy::Type::kSettings: return on_settings(payload);
      case spdy::Type::kPing:
        if (!needs(4)) return bad();
        // Odd ids are the peer's own pings; an even one would be the answer to ours.
        if ((spdy::read_u32(payload, 0) & 1) != 0) {
          spdy::append_control(out_, spdy::Type::kPing, 0, payload.substr(0, 4));
          out_ready_.notify();
        }
        return {};
      case spdy::Type::kGoAway: return {};  // the peer opens no more; what is open goes on until it closes
      case spdy::Type::kWindowUpdate:
        if (!needs(8)) return bad();
        return on_window_update(spdy::read_u32(payload, 0) & 0x7FFF'FFFFU, spdy::read_u32(payload, 4) & 0x7FFF'FFFFU);
    }
    return {};  // an unknown type is skipped (section 2.2.1)
  }

  Status on_syn_stream(const spdy::Head& head, std::string_view payload) {
    const auto id = spdy::read_u32(payload, 0) & 0x7FFF'FFFFU;
    BRUME_TRY(auto fields, headers_in_.read(payload.substr(10)));
    if (id % 2 == 0 || id <= last_stream_) return fail(Code::kCorrupt, "SPDY: bad stream id");
    last_stream_ = id;
    if (stopping_ || streams_.size() >= kMaxStreams) {
      send_reset(id, spdy::kStatusRefusedStream);
      return {};
    }
    auto stream = std::make_shared<StreamState>(id, std::move(fields), executor_);
    stream->send_window = initial_window_;
    stream->remote_done = (head.flags & spdy::kFlagFin) != 0;
    stream->local_done = (head.flags & spdy::kFlagUnidirectional) != 0;
    streams_.emplace(id, stream);
    if (!stream->local_done) {
      std::string reply;
      spdy::append_u32(reply, id);
      reply += headers_out_.write({});
      spdy::append_control(out_, spdy::Type::kSynReply, 0, reply);
      out_ready_.notify();
    }
    waiting_.push_back(std::move(stream));
    accepted_.notify_all();
    return {};
  }

  Status on_settings(std::string_view payload) {
    if (payload.size() < 4) return fail(Code::kCorrupt, "SPDY: malformed SETTINGS");
    const std::uint64_t count = spdy::read_u32(payload, 0);
    if (payload.size() < 4 + count * 8) return fail(Code::kCorrupt, "SPDY: malformed SETTINGS");
    for (std::size_t i = 0; i < count; ++i) {
      const auto id = spdy::read_u32(payload, 4 + i * 8) & 0xFF'FFFF;
      if (id != spdy::kSettingInitialWindow) continue;
      const auto window = static_cast<std::int64_t>(spdy::read_u32(payload, 8 + i * 8) & 0x7FFF'FFFFU);
      const auto change = window - initial_window_;
      initial_window_ = window;
      peer_updates_streams_ = true;
      for (auto& [number, stream] : streams_) {
        stream->send_window += change;
        stream->changed.notify_all();
      }
    }
    return {};
  }

  Status on_window_update(std::uint32_t id, std::uint32_t delta) {
    if (id == 0) {
      peer_updates_session_ = true;
      session_window_ += delta;
      for (auto& [number, stream] : streams_) stream->changed.notify_all();
      return {};
    }
    peer_updates_streams_ = true;
    if (const auto stream = find(id)) {
      stream->send_window += delta;
      stream->changed.notify_all();
    }
    return {};
  }

  Executor executor_;
  Farewell farewell_;
  TaskGroup tasks_;
  std::unique_ptr<Stream> transport_;
  spdy::HeaderReader headers_in_;
  spdy::HeaderWriter headers_out_;
  std::map<std::uint32_t, StreamPtr> streams_;  // open in at least one direction
  std::deque<StreamPtr> waiting_;               // not accepted yet
  std::string in_;
  std::string out_;
  Event out_ready_;
  Condition out_drained_;
  Condition accepted_;
  Condition in_drained_;
  std::optional<FarewellDeadline> stop_deadline_;
  std::size_t unread_total_ = 0;
  std::size_t session_unacknowledged_ = 0;
  std::int64_t initial_window_ = spdy::kInitialWindow;
  std::int64_t session_window_ = spdy::kInitialWindow;
  std::uint32_t last_stream_ = 0;
  bool peer_updates_streams_ = false;
  bool peer_updates_session_ = false;
  bool stopping_ = false;
  bool ended_ = false;
};

class SessionStream final : public SpdyStream {
 public:
  SessionStream(std::shared_ptr<State> session, StreamPtr stream)
      : session_(std::move(session)), stream_(std::move(stream)) {}
  ~SessionStream() override { session_->drop(*stream_); }
  [[nodiscard]] const Headers& headers() const override { return stream_->headers; }
  Task<Result<std::size_t>> read(std::span<char> buffer) override { return session_->read(stream_, buffer); }
  Task<Status> write(std::string_view bytes) override { return session_->write(stream_, bytes); }
  Task<Status> close_write() override { co_return session_->finish(*stream_); }
  void close() override { session_->close(*stream_); }

 private:
  std::shared_ptr<State> session_;
  StreamPtr stream_;
};

class Session final : public SpdySession {
 public:
  explicit Session(std::shared_ptr<State> state) : state_(std::move(state)) {}
  // Without stop() (a handler cancelled in mid-air) the tasks still have to end before their state may go.
  ~Session() override {
    state_->abandon();
    if (state_->tasks().size() == 0) return;
    auto* kept = new std::shared_ptr<State>(state_);
    retire(state_->tasks(), [kept] { delete kept; });
  }
  Task<Result<std::shared_ptr<SpdyStream>>> accept() override {
    auto state = state_;
    BRUME_CO_TRY(auto stream, co_await state->accept());
    co_return std::make_shared<SessionStream>(state, std::move(stream));
  }
  Task<void> stop() override { return state_->stop(); }
  void close() override { state_->abandon(); }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace

std::unique_ptr<SpdySession> SpdySession::serve(std::unique_ptr<Stream> transport, const Executor& executor,
                                                Farewell farewell) {
  auto state = std::make_shared<State>(std::move(transport), executor, farewell);
  state->start();
  return std::make_unique<Session>(std::move(state));
}

}  // namespace brume::http
