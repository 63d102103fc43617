#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <fstream>
#include <sstream>
#include <utility>

#include "brume/base/clock.h"
#include "brume/base/log.h"
#include "brume/base/task.h"
#include "brume/client/informer.h"
#include "brume/http/server.h"
#include "brume/network/dns.h"
#include "dns_forwarder.h"
#include "dns_zone.h"

namespace brume::network {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using asio::ip::udp;
using client::ObjectPtr;
using namespace dns;

constexpr auto kDone = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kMostConnections = 64;
constexpr auto kConnectionIdle = std::chrono::seconds(10);
constexpr auto kAcceptPause = std::chrono::milliseconds(100);
constexpr int kMostAliases = 8;
constexpr std::size_t kLargestQuery = 4'096;

bool failed_with(const boost::system::error_code& error) { return static_cast<bool>(error); }

Task<void> answer_health(http::Exchange& exchange, const char* path, bool good) {
  http::Response response;
  response.headers.set("Content-Type", "text/plain");
  if (exchange.request().path != path) {
    response.status = 404;
  } else {
    response.status = good ? 200 : 503;
    response.body = good ? "OK" : "not ready";
  }
  auto sent = co_await exchange.respond(std::move(response));
  (void)sent;  // the prober went away: nothing to do
}

std::string failure(const Query& query, Rcode rcode) {
  return write_answer(query, {rcode, false, {}, {}, {}}, kPlainUdpSize);
}

class ApiDnsServer final : public DnsServer {
 public:
  ApiDnsServer(DnsOptions options, client::Client& client, Clock& clock, const Executor& executor,
               std::vector<Upstream> upstreams)
      : options_(std::move(options)),
        informers_(client, executor, clock),
        zone_(options_.domain, static_cast<std::uint32_t>(std::chrono::system_clock::to_time_t(clock.now()))),
        forwarder_(std::move(upstreams), clock),
        socket_(executor),
        acceptor_(executor),
        tasks_(executor) {
    follow_api();
  }

  Status listen();
  void start() {
    informers_.start();
    tasks_.spawn("dns: first sync", await_sync());
    tasks_.spawn("dns: udp", serve_udp());
    tasks_.spawn("dns: tcp", accept_tcp());
  }
  std::uint16_t port() const override { return port_; }
  bool ready() const override { return ready_; }

  Task<void> stop() override {
    boost::system::error_code ignored;
    socket_.close(ignored);
    acceptor_.close(ignored);
    co_await tasks_.stop();
    if (health_) co_await health_->stop();
    if (readiness_) co_await readiness_->stop();
    co_await informers_.stop();
  }

 private:
  void follow_api();
  Task<void> await_sync() {
    co_await informers_.wait_synced();
    ready_ = true;
    log::info("dns: the cluster's names are known");
  }
  Task<void> serve_udp();
  Task<void> answer_later(Query query, udp::endpoint client);
  Task<void> accept_tcp();
  Task<void> serve_connection(std::shared_ptr<tcp::socket> connection);
  std::optional<Answer> answer_at_once(const Query& query) const;
  Task<std::string> answer_forwarded(Query query, std::optional<Answer> alias, bool is_tcp);
  Task<std::string> answer_message(std::string bytes);
  void note(const Query& query, const char* how) const;
  auto skip_own() const {
    return [this](const net::IpAddress& address) { return zone_.has_cluster_ip(address); };
  }

  const DnsOptions options_;
  client::InformerFactory informers_;
  ClusterZone zone_;
  DnsForwarder forwarder_;
  udp::socket socket_;
  tcp::acceptor acceptor_;
  std::unique_ptr<http::Server> health_, readiness_;
  TaskGroup tasks_;
  std::size_t connections_ = 0;
  std::uint16_t port_ = 0;
  bool ready_ = false;
};

void ApiDnsServer::follow_api() {
  // The informers live and die with this object, so their handlers may refer to it.
  auto service = [this](const ObjectPtr& now) { zone_.set_service(view_service(*now)); };
  informers_.informer("services")
      .add_handler({.added = service,
                    .updated = [service](const ObjectPtr&, const ObjectPtr& now) { service(now); },
                    .deleted = [this](const ObjectPtr& last) { zone_.remove_service(last->key()); }});
  auto slice = [this](const ObjectPtr& now) { zone_.set_slice(now->key(), view_slice(*now)); };
  informers_.informer("endpointslices.discovery.k8s.io")
      .add_handler({.added = slice,
                    .updated = [slice](const ObjectPtr&, const ObjectPtr& now) { slice(now); },
                    .deleted = [this](const ObjectPtr& last) { zone_.remove_slice(last->key()); }});
  informers_.informer("namespaces")
      .add_handler({.added = [this](const ObjectPtr& now) { zone_.set_namespace(now->name()); },
                    .updated = nullptr,
                    .deleted = [this](const ObjectPtr& last) { zone_.remove_namespace(last->name()); }});
}

Status ApiDnsServer::listen() {
  boost::system::error_code error;
  auto address = asio::ip::make_address(options_.listen_address, error);
  if (error) return fail(Code::kInvalid, "listen address " + options_.listen_address + " is no IP address");
  tcp::endpoint stream(address, options_.port);
  acceptor_.open(stream.protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(stream, error);
  if (!error) acceptor_.listen(tcp::acceptor::max_listen_connections, error);
  if (!error) port_ = acceptor_.local_endpoint(error).port();
  udp::endpoint datagram(address, port_);
  if (!error) socket_.open(datagram.protocol(), error);
  if (!error) socket_.bind(datagram, error);
  if (error) {
    Code code = error == asio::error::address_in_use  ? Code::kAlreadyExists
                : error == asio::error::access_denied ? Code::kForbidden
                                                      : Code::kIo;
    return fail(code, "dns: listening on " + options_.listen_address + " port " + std::to_string(options_.port) + ": " +
                          error.message());
  }
  auto probe = [&](std::uint16_t port, http::Handler handler) -> Result<std::unique_ptr<http::Server>> {
    http::ServerOptions server;
    server.address = options_.listen_address;
    server.port = port;
    server.max_connections = 16;
    return http::Server::listen(std::move(server), {tasks_.executor()}, std::move(handler));
  };
  if (options_.health_port != 0) {
    BRUME_TRY(health_,
              probe(options_.health_port, [](http::Exchange& e) { return answer_health(e, "/health", true); }));
  }
  if (options_.ready_port != 0) {
    BRUME_TRY(readiness_,
              probe(options_.ready_port, [this](http::Exchange& e) { return answer_health(e, "/ready", ready_); }));
  }
  return {};
}

void ApiDnsServer::note(const Query& query, const char* how) const {
  if (options_.log_queries)
    log::info("dns query", {{"name", query.name.str()}, {"type", std::to_string(query.type)}, {"answered", how}});
}

/// nullopt: not ours, forward it.
std::optional<Answer> ApiDnsServer::answer_at_once(const Query& query) const {
  constexpr std::uint8_t kStandardQuery = 0;
  if (query.opcode != kStandardQuery) return Answer{Rcode::kNotImp, false, {}, {}, {}};
  if (query.edns_version != 0) return Answer{Rcode::kBadVers, false, {}, {}, {}};
  auto answer = zone_.resolve(query);
  if (answer.has_value() && !ready_) return Answer{Rcode::kServFail, false, {}, {}, {}};
  return answer;
}

/// Whether the answer ends with an alias that is still to be followed.
const Record* open_alias(const Query& query, const std::optional<Answer>& answer) {
  if (!answer.has_value() || answer->answers.empty() || answer->answers.back().type != Type::kCname) return nullptr;
  bool wants_addresses = query.type == std::to_underlying(Type::kA) || query.type == std::to_underlying(Type::kAaaa);
  return wants_addresses ? &answer->answers.back() : nullptr;
}

Task<std::string> ApiDnsServer::answer_forwarded(Query query, std::optional<Answer> answer, bool is_tcp) {
  std::size_t limit = is_tcp ? kMaxMessage : query.udp_size;
  if (!answer.has_value()) {
    auto response = co_await forwarder_.ask(query, is_tcp, skip_own());
    if (!response.has_value())
      log::debug("dns: forwarding failed", {{"name", query.name.str()}, {"error", response.error().message}});
    co_return response.has_value() ? std::move(*response) : failure(query, Rcode::kServFail);
  }
  for (int i = 0; i < kMostAliases; ++i) {
    const Record* alias = open_alias(query, answer);
    if (alias == nullptr) break;
    Query next = query;
    next.name = Name::from_wire(alias->data);
    if (auto inside = zone_.resolve(next)) {
      answer->rcode = inside->rcode;
      answer->authority = std::move(inside->authority);
      if (inside->answers.empty()) break;
      std::move(inside->answers.begin(), inside->answers.end(), std::back_inserter(answer->answers));
      continue;
    }
    auto response = co_await forwarder_.ask(next, is_tcp, skip_own());
    if (!response.has_value()) co_return failure(query, Rcode::kServFail);
    auto records = read_answers(*response);
    std::move(records.begin(), records.end(), std::back_inserter(answer->answers));
    break;  // the upstream has followed the rest
  }
  co_return write_answer(query, *answer, limit);
}

Task<void> ApiDnsServer::serve_udp() {
  std::string buffer(kLargestQuery, '\0');
  for (;;) {
    udp::endpoint from;
    auto [error, length] = co_await socket_.async_receive_from(asio::buffer(buffer), from, kDone);
    if (!socket_.is_open()) co_return;
    if (failed_with(error)) continue;  // an ICMP error of an earlier answer
    auto query = parse_query(std::string_view(buffer).substr(0, length));
    std::string reply;
    if (!query.has_value()) {
      if (query.error().code == Code::kForbidden) continue;
      reply = write_format_error(static_cast<std::uint16_t>((static_cast<unsigned char>(buffer[0]) << 8) |
                                                            static_cast<unsigned char>(buffer[1])));
    } else {
      auto answer = answer_at_once(*query);
      if (!answer.has_value() || open_alias(*query, answer) != nullptr) {
        note(*query, "forwarded");
        tasks_.spawn("dns: forward", answer_later(std::move(*query), from));
        continue;
      }
      note(*query, "from the cluster");
      reply = write_answer(*query, *answer, query->udp_size);
    }
    auto [unsent, count] = co_await socket_.async_send_to(asio::buffer(reply), from, kDone);
    (void)unsent;  // the client asks again
  }
}

Task<void> ApiDnsServer::answer_later(Query query, udp::endpoint client) {
  auto answer = answer_at_once(query);
  std::string reply = co_await answer_forwarded(std::move(query), std::move(answer), false);
  if (!socket_.is_open()) co_return;
  auto [unsent, count] = co_await socket_.async_send_to(asio::buffer(reply), client, kDone);
  (void)unsent;
}

Task<void> ApiDnsServer::accept_tcp() {
  for (;;) {
    auto connection = std::make_shared<tcp::socket>(tasks_.executor());
    auto [error] = co_await acceptor_.async_accept(*connection, kDone);
    if (!acceptor_.is_open()) co_return;
    if (failed_with(error)) {
      co_await sleep_for(kAcceptPause);  // out of file descriptors: do not spin
      continue;
    }
    if (connections_ >= kMostConnections) continue;  // closes it
    tasks_.spawn("dns: connection", serve_connection(std::move(connection)));
  }
}

Task<void> ApiDnsServer::serve_connection(std::shared_ptr<tcp::socket> connection) {
  struct Counted {
    explicit Counted(std::size_t& n) : count(n) { ++count; }
    ~Counted() { --count; }
    std::size_t& count;
  } counted(connections_);
  asio::steady_timer idle(connection->get_executor());
  for (;;) {
    idle.expires_after(kConnectionIdle);
    idle.async_wait([weak = std::weak_ptr<tcp::socket>(connection)](boost::system::error_code error) {
      boost::system::error_code ignored;
      if (auto alive = weak.lock(); alive && !error) alive->close(ignored);
    });
    unsigned char head[2] = {};
    auto [unheaded, n] = co_await asio::async_read(*connection, asio::buffer(head), kDone);
    if (failed_with(unheaded)) co_return;
    std::size_t length = (std::size_t{head[0]} << 8) | head[1];
    if (length < kHeaderSize || length > kLargestQuery) co_return;
    std::string bytes(length, '\0');
    auto [unread, m] = co_await asio::async_read(*connection, asio::buffer(bytes), kDone);
    if (failed_with(unread)) co_return;
    std::string reply = co_await answer_message(std::move(bytes));
    if (reply.empty()) co_return;
    reply.insert(0, {static_cast<char>(reply.size() >> 8), static_cast<char>(reply.size() & 0xff)});
    auto [unsent, count] = co_await asio::async_write(*connection, asio::buffer(reply), kDone);
    if (failed_with(unsent)) co_return;
  }
}

/// The reply to a message that came by TCP; empty: hang up.
Task<std::string> ApiDnsServer::answer_message(std::string bytes) {
  auto query = parse_query(bytes);
  if (!query.has_value()) {
    if (query.error().code == Code::kForbidden) co_return std::string();
    co_return write_format_error(
        static_cast<std::uint16_t>((static_cast<unsigned char>(bytes[0]) << 8) | static_cast<unsigned char>(bytes[1])));
  }
  auto answer = answer_at_once(*query);
  bool forward = !answer.has_value() || open_alias(*query, answer) != nullptr;
  note(*query, forward ? "forwarded" : "from the cluster");
  if (!forward) co_return write_answer(*query, *answer, kMaxMessage);
  co_return co_await answer_forwarded(std::move(*query), std::move(answer), true);
}

/// Whom to forward to. A server that is this one (its own addresses, loopback) would be asked in a circle.
Result<std::vector<Upstream>> upstreams_of(const DnsOptions& options) {
  std::vector<Upstream> upstreams;
  for (const auto& text : options.upstreams) {
    auto upstream = parse_upstream(text);
    if (!upstream) return fail(Code::kInvalid, "name server \"" + text + "\" is no address");
    upstreams.push_back(*upstream);
  }
  if (!upstreams.empty()) return upstreams;
  std::ifstream file(options.resolv_conf);
  std::stringstream text;
  text << file.rdbuf();
  upstreams = read_resolv_conf(text.str());
  auto own = own_addresses();
  std::erase_if(upstreams, [&](const Upstream& upstream) {
    bool self = upstream.port == options.port &&
                (upstream.address.is_loopback() || std::find(own.begin(), own.end(), upstream.address) != own.end());
    if (self) log::warn("dns: not forwarding to myself", {{"server", upstream.address.str()}});
    return self;
  });
  if (upstreams.empty())
    log::warn("dns: no name server to forward to; only names of the cluster resolve", {{"file", options.resolv_conf}});
  return upstreams;
}

}  // namespace

Task<Result<std::unique_ptr<DnsServer>>> DnsServer::start(DnsOptions options, client::Client& client, Clock& clock) {
  if (auto name = Name::parse(options.domain); !name || options.domain.empty()) {
    co_return fail(Code::kInvalid, "cluster domain \"" + options.domain + "\" is no DNS name");
  }
  BRUME_CO_TRY(auto upstreams, upstreams_of(options));
  Executor executor = co_await asio::this_coro::executor;
  auto server = std::make_unique<ApiDnsServer>(std::move(options), client, clock, executor, std::move(upstreams));
  if (auto listening = server->listen(); !listening.has_value()) {
    co_await server->stop();
    co_return fail(std::move(listening).error());
  }
  server->start();
  co_return std::unique_ptr<DnsServer>(std::move(server));
}

}  // namespace brume::network
