// WATCH over HTTP: one JSON line an event, bookmarks in between, an ERROR event for what cannot go on.
#include <algorithm>

#include "authn.h"
#include "brume/base/random.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "errors.h"
#include "server_impl.h"

namespace brume::apiserver {

using Impl = ApiServer::Impl;

namespace {

using Steady = std::chrono::steady_clock;

/// Frames are sent once so much has gathered, so that a long initial state does not pile up in memory.
constexpr std::size_t kFlushAt = 256 * 1024;

WatchQuery watch_query(const Call& call) {
  const http::Query& query = call.request.query;
  WatchQuery out;
  if (call.resource->namespaced) out.ns = call.info.ns;
  out.label_selector = query.get("labelSelector");
  out.field_selector = query.get("fieldSelector");
  if (out.field_selector.empty() && !call.info.name.empty()) out.field_selector = "metadata.name=" + call.info.name;
  out.resource_version = query.get("resourceVersion");
  out.resource_version_match = query.get("resourceVersionMatch");
  if (query.has("sendInitialEvents")) out.send_initial_events = truthy(query, "sendInitialEvents");
  out.allow_bookmarks = truthy(query, "allowWatchBookmarks");
  return out;
}

// Counts a watch for as long as it lives, even if its task is cancelled.
class Counted {
 public:
  explicit Counted(metrics::Gauge& gauge) : gauge_(gauge) { gauge_.add(1); }
  ~Counted() { gauge_.add(-1); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  metrics::Gauge& gauge_;
};

// A browser that offers sub-protocols fails without one in the answer, so the first is taken whatever it is: the frames
// are the same.
std::string watch_protocol(const std::vector<std::string>& offered) {
  if (offered.empty()) return "";
  const auto known = std::ranges::find(offered, "binary.k8s.io");
  return known == offered.end() ? offered.front() : *known;
}

// Over a WebSocket, which browsers can open, each event is a message.
Task<Result<std::unique_ptr<http::BodyWriter>>> start_watch(Call& call) {
  if (call.exchange.wants_websocket()) {
    co_return co_await call.exchange.respond_websocket(
        watch_protocol(without_token(call.exchange.websocket_protocols())), http::SocketBody::kLines);
  }
  http::Headers headers{{"Content-Type", "application/json"}};
  add_common_headers(call, headers);
  co_return co_await call.exchange.respond_stream(200, std::move(headers));
}

}  // namespace

Task<Result<Answer>> Impl::watch(Call& call) {
  BRUME_CO_TRY(const Encoding how, encoding(call));
  const WatchQuery query = watch_query(call);
  auto stream = co_await registry.watch(*call.resource, query);
  if (!stream && stream.error().code != Code::kExpired) co_return fail(std::move(stream).error());
  BRUME_CO_TRY(const std::unique_ptr<http::BodyWriter> writer, co_await start_watch(call));
  const Counted counted(long_running.with({"watch", call.resource->plural}));
  record(call, call.exchange.wants_websocket() ? 101 : 200, clock.steady());
  if (!stream) {  // Kubernetes tells of an expired revision inside the stream
    std::string frame;
    WatchEncoder::append_error(frame, stream.error());
    (void)co_await writer->write(frame);
    (void)co_await writer->finish();
    co_return Answer{};
  }
  const auto asked = parse_int(call.request.query.get("timeoutSeconds"));
  const auto spread = std::chrono::seconds(random_u64() % static_cast<std::uint64_t>(options.min_watch.count() + 1));
  const Steady::time_point end =
      Steady::now() + (asked && *asked > 0 ? std::chrono::seconds(*asked) : options.min_watch + spread);
  Steady::time_point bookmark = Steady::now() + options.bookmark_interval;
  WatchEncoder encoder(how);
  std::string frames;
  while (Steady::now() < end) {
    const auto until = query.allow_bookmarks ? std::min(end, bookmark) : end;
    auto events = co_await (*stream)->next(until - Steady::now());
    if (!events) break;  // too slow, or the server stops: the client watches again from what it saw last
    for (const WatchEvent& event : *events) {
      encoder.append(frames, event);
      if (frames.size() < kFlushAt) continue;
      if (!co_await writer->write(frames)) co_return Answer{};
      frames.clear();
    }
    if (query.allow_bookmarks && Steady::now() >= bookmark) {
      if (const auto revision = (*stream)->progress(); revision > 0) encoder.append_bookmark(frames, revision, false);
      bookmark = Steady::now() + options.bookmark_interval;
    }
    if (!frames.empty() && !co_await writer->write(frames)) co_return Answer{};
    frames.clear();
  }
  (void)co_await writer->finish();
  co_return Answer{};
}

}  // namespace brume::apiserver
