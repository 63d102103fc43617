#include "brume/http/client.h"

#include <algorithm>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/query.hpp>
#include <deque>
#include <map>
#include <mutex>

#include "brume/base/strings.h"
#include "client_connection.h"
#include "dial.h"

namespace brume::http {

namespace asio = boost::asio;

namespace {

using Clock = std::chrono::steady_clock;
using ConnectionPtr = std::unique_ptr<ClientConnection>;

constexpr std::size_t kMaxIdlePerHost = 16;
constexpr auto kIdleTime = std::chrono::seconds(30);

/// Resting connections by loop and origin. Thread-safe: the resting connections of a loop have nothing pending, so any
/// thread may delete them. The timer of a loop closes those that rested too long.
class Pool : public std::enable_shared_from_this<Pool> {
 public:
  ConnectionPtr take(const Executor& executor, const std::string& origin) {
    const std::lock_guard lock(mutex_);
    auto loop = loops_.find(&asio::query(executor, asio::execution::context));
    if (loop == loops_.end()) return nullptr;
    auto& idle = loop->second.idle[origin];
    while (!idle.empty()) {
      auto connection = std::move(idle.back().connection);  // the newest is the likeliest to live
      idle.pop_back();
      if (connection->is_quiet()) return connection;
    }
    return nullptr;
  }

  void put(const Executor& executor, const std::string& origin, ConnectionPtr connection) {
    connection->rest();
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    auto& loop = loops_[&asio::query(executor, asio::execution::context)];
    auto& idle = loop.idle[origin];
    if (idle.size() >= kMaxIdlePerHost) idle.pop_front();
    idle.push_back({std::move(connection), Clock::now() + kIdleTime});
    if (!loop.timer) loop.timer = std::make_unique<asio::steady_timer>(executor);
    if (!loop.armed) arm(loop, Clock::now() + kIdleTime);
  }

  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    loops_.clear();
  }

 private:
  struct Idle {
    ConnectionPtr connection;
    Clock::time_point until;
  };
  struct PerLoop {
    std::map<std::string, std::deque<Idle>> idle;
    std::unique_ptr<asio::steady_timer> timer;
    bool armed = false;
  };

  void arm(PerLoop& loop, Clock::time_point at) {
    loop.armed = true;
    loop.timer->expires_at(at);
    loop.timer->async_wait([self = shared_from_this(), &loop](const boost::system::error_code& ec) {
      if (!ec) self->sweep(loop);
    });
  }

  void sweep(PerLoop& loop) {
    const std::lock_guard lock(mutex_);
    if (closed_) return;  // `loop` is gone
    loop.armed = false;
    const auto now = Clock::now();
    auto next = Clock::time_point::max();
    for (auto it = loop.idle.begin(); it != loop.idle.end();) {
      auto& idle = it->second;
      while (!idle.empty() && idle.front().until <= now) idle.pop_front();
      if (!idle.empty()) next = std::min(next, idle.front().until);
      it = idle.empty() ? loop.idle.erase(it) : std::next(it);
    }
    if (next != Clock::time_point::max()) arm(loop, next);
  }

  std::mutex mutex_;
  std::map<asio::execution_context*, PerLoop> loops_;
  bool closed_ = false;
};

/// A connection whose answer's head was read, and where it goes afterwards.
struct Exchanged {
  ConnectionPtr connection;
  Url url;
};

class PooledResponse final : public ResponseStream {
 public:
  PooledResponse(std::shared_ptr<Pool> pool, Executor executor, Exchanged exchanged, std::chrono::milliseconds timeout)
      : pool_(std::move(pool)),
        executor_(std::move(executor)),
        origin_(exchanged.url.origin()),
        connection_(std::move(exchanged.connection)),
        status_(connection_->head().status),
        headers_(std::move(connection_->head().headers)),
        timeout_(timeout) {}

  [[nodiscard]] int status() const override { return status_; }
  [[nodiscard]] const Headers& headers() const override { return headers_; }

  Task<Result<std::size_t>> read(std::span<char> buffer) override {
    if (at_ == decoded_.size()) {
      decoded_.clear();
      at_ = 0;
      if (!connection_) co_return std::size_t(0);
      BRUME_CO_TRY(const bool more, co_await connection_->read_some(decoded_, timeout_));
      if (connection_->done()) {
        if (connection_->reusable()) pool_->put(executor_, origin_, std::move(connection_));
        connection_.reset();
      }
      if (!more) co_return std::size_t(0);
    }
    const auto count = std::min(buffer.size(), decoded_.size() - at_);
    std::copy_n(decoded_.data() + at_, count, buffer.data());
    at_ += count;
    co_return count;
  }

 private:
  std::shared_ptr<Pool> pool_;
  Executor executor_;
  std::string origin_;
  ConnectionPtr connection_;
  int status_;
  Headers headers_;
  std::chrono::milliseconds timeout_;
  std::string decoded_;
  std::size_t at_ = 0;
};

bool is_idempotent(const std::string& method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" || method == "OPTIONS";
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

class PooledClient final : public Client {
 public:
  PooledClient(ClientOptions options, std::shared_ptr<const TlsContext> tls)
      : options_(std::move(options)), tls_(std::move(tls)), pool_(std::make_shared<Pool>()) {}
  ~PooledClient() override { pool_->close(); }

  Task<Result<Response>> fetch(ClientRequest request) override {
    const Executor executor = co_await asio::this_coro::executor;
    BRUME_CO_TRY(auto exchanged, co_await follow(std::move(request)));
    BRUME_CO_TRY(auto response, co_await read_whole(executor, std::move(exchanged)));
    co_return response;
  }

  Task<Result<std::unique_ptr<ResponseStream>>> open(ClientRequest request) override {
    const Executor executor = co_await asio::this_coro::executor;
    BRUME_CO_TRY(auto exchanged, co_await follow(std::move(request)));
    co_return std::make_unique<PooledResponse>(pool_, executor, std::move(exchanged), options_.stream_timeout);
  }

  Task<Result<Upgraded>> upgrade(ClientRequest request) override {
    const Executor executor = co_await asio::this_coro::executor;
    BRUME_CO_TRY(auto url, parse_url(request.url));
    BRUME_CO_TRY(auto exchanged, co_await exchange(request, std::move(url)));
    Upgraded out;
    if (exchanged.connection->head().status != 101) {
      BRUME_CO_TRY(out.head, co_await read_whole(executor, std::move(exchanged)));
      co_return out;
    }
    out.head.status = 101;
    out.head.headers = std::move(exchanged.connection->head().headers);
    out.stream = exchanged.connection->take_stream();
    co_return out;
  }

 private:
  Task<Result<ConnectionPtr>> connect(const Url& url) {
    const Executor executor = co_await asio::this_coro::executor;
    const Proxy* proxy = proxy_for(url);
    Url next = url;
    if (proxy != nullptr) next = Url{.scheme = "http", .host = proxy->host, .port = proxy->port};
    auto transport = co_await dial(next, options_.dial_address, options_.connect_timeout);
    if (!transport) co_return fail(proxy == nullptr ? transport.error() : wrap(transport.error(), "the proxy"));
    auto connection = std::make_unique<ClientConnection>(executor, *std::move(transport));
    if (proxy != nullptr && url.scheme == "https") {
      auto open = co_await connection->tunnel(url, proxy->authorization, options_.response_timeout);
      if (!open) co_return fail(wrap(open.error(), "the proxy " + next.authority()));
    } else if (proxy != nullptr) {
      connection->forward_by_proxy(proxy->authorization);
    }
    if (url.scheme == "https") {
      const auto& named = options_.tls.server_name;
      auto name = named.empty() ? url.host : named;
      auto done = co_await connection->start_tls(tls_, name, options_.tls.insecure, options_.connect_timeout);
      if (!done) co_return fail(wrap(done.error(), url.authority()));
    }
    co_return connection;
  }

  [[nodiscard]] const Proxy* proxy_for(const Url& url) const {
    if (url.scheme == "unix" || !options_.dial_address.empty()) return nullptr;
    return options_.proxies.find(url.scheme == "https", url.host, url.port);
  }

  // One request, one answer's head. A kept connection that the server closed meanwhile is replaced once, silently, when
  // the request cannot have been acted upon or may be repeated.
  Task<Result<Exchanged>> exchange(const ClientRequest& request, Url url) {
    const Executor executor = co_await asio::this_coro::executor;
    const std::string where = request.method + " " + url.origin();
    auto connection = pool_->take(executor, url.origin());
    if (connection) {
      bool touched = false;
      auto done = co_await connection->exchange(request, url, options_.response_timeout, touched);
      if (done) co_return Exchanged{std::move(connection), std::move(url)};
      if (touched || done.error().code == Code::kTimeout || !is_idempotent(request.method)) {
        co_return fail(wrap(done.error(), where));
      }
    }
    BRUME_CO_TRY(connection, co_await connect(url));
    bool touched = false;
    auto done = co_await connection->exchange(request, url, options_.response_timeout, touched);
    if (!done) co_return fail(wrap(done.error(), where));
    co_return Exchanged{std::move(connection), std::move(url)};
  }

  Task<Result<Exchanged>> follow(ClientRequest request) {
    const Executor executor = co_await asio::this_coro::executor;
    BRUME_CO_TRY(auto url, parse_url(request.url));
    const bool may_follow = request.method == "GET" || request.method == "HEAD";
    for (int redirects = 0;; ++redirects) {
      BRUME_CO_TRY(auto exchanged, co_await exchange(request, url));
      auto& head = exchanged.connection->head();
      const std::string location(head.headers.get("Location"));
      if (options_.max_redirects == 0 || !may_follow || !is_redirect(head.status) || location.empty()) {
        co_return exchanged;
      }
      if (redirects >= options_.max_redirects) {
        co_return fail(Code::kBadRequest, "more than " + std::to_string(options_.max_redirects) + " redirects");
      }
      BRUME_CO_TRY(auto next, resolve_redirect(url, location));
      if (next.origin() != url.origin()) {
        // Credentials are for the host that they were given for.
        for (const auto* name : {"Authorization", "Cookie", "Proxy-Authorization", "Host"}) {
          request.headers.remove(name);
        }
      }
      (void)co_await read_whole(executor, std::move(exchanged));
      url = std::move(next);
    }
  }

  Task<Result<Response>> read_whole(Executor executor, Exchanged exchanged) {
    auto& connection = exchanged.connection;
    Response response;
    response.status = connection->head().status;
    response.headers = std::move(connection->head().headers);
    while (true) {
      auto more = co_await connection->read_some(response.body, options_.response_timeout);
      if (!more) co_return fail(wrap(more.error(), exchanged.url.origin()));
      if (response.body.size() > options_.max_body) {
        co_return fail(Code::kRequestEntityTooLarge, exchanged.url.origin() + ": the answer is larger than " +
                                                         std::to_string(options_.max_body) + " bytes");
      }
      if (!*more || connection->done()) break;
    }
    if (connection->reusable()) pool_->put(executor, exchanged.url.origin(), std::move(connection));
    co_return response;
  }

  ClientOptions options_;
  std::shared_ptr<const TlsContext> tls_;
  std::shared_ptr<Pool> pool_;
};

}  // namespace

Result<std::unique_ptr<Client>> Client::create(ClientOptions options) {
  BRUME_TRY(auto tls, TlsContext::for_client(options.tls));
  return std::make_unique<PooledClient>(std::move(options), std::move(tls));
}

}  // namespace brume::http
