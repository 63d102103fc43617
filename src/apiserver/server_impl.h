// Inside of the ApiServer, shared by the files that implement it.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "access.h"
#include "brume/apiserver/server.h"
#include "brume/base/clock.h"
#include "brume/base/json.h"
#include "brume/base/metrics.h"
#include "discovery.h"
#include "encode.h"
#include "proxy_links.h"
#include "proxy_target.h"
#include "request_info.h"
#include "resource_metrics.h"

namespace brume::apiserver {

/// One request on its way through the chain. Owner: its connection's loop.
struct Call {
  http::Exchange& exchange;
  const http::Request& request;
  RequestInfo info;
  User user;
  const api::Resource* resource = nullptr;  ///< null for paths that are no resource
  StatusDetails details;                    ///< of the Status, should the call fail
  std::vector<std::string> warnings;
  std::string audit_id;
  bool yaml = false;  ///< the answer, which handlers make in JSON, goes out as YAML
};

/// An answer still to be sent; nullopt: the handler sent it itself (streams, upgrades).
using Answer = std::optional<http::Response>;

struct ApiServer::Impl {
  Impl(Registry& registry_in, Authenticator& authenticator_in, Authorizer& authorizer_in, Admission* admission_in,
       ApiServerOptions options_in);

  Task<void> handle(http::Exchange& exchange);
  Task<Result<Answer>> serve(Call& call);
  [[nodiscard]] Status authorize(const Call& call) const;
  void record(const Call& call, int code, std::chrono::steady_clock::time_point start);

  // ---- resource_handlers.cc --------------------------------------------------------------------------------------
  Task<Result<Answer>> serve_resource(Call& call);
  Task<Result<Answer>> get(Call& call);
  Task<Result<Answer>> list(Call& call);
  Task<Result<Answer>> create(Call& call);
  Task<Result<Answer>> update(Call& call);
  Task<Result<Answer>> patch(Call& call);
  Task<Result<Answer>> remove(Call& call);
  Task<Result<Answer>> remove_collection(Call& call);
  [[nodiscard]] Result<Encoding> encoding(Call& call) const;
  [[nodiscard]] Result<WriteContext> write_context(Call& call) const;
  Task<Result<Json>> body(Call& call, WriteContext& context);
  Task<Result<DeleteRequest>> delete_request(Call& call, WriteContext& context);

  // ---- watch_handler.cc ------------------------------------------------------------------------------------------
  Task<Result<Answer>> watch(Call& call);

  // ---- system_handlers.cc ----------------------------------------------------------------------------------------
  Task<Result<Answer>> serve_path(Call& call);
  [[nodiscard]] http::Response health(const Call& call, std::string_view endpoint) const;
  [[nodiscard]] std::optional<http::Response> openapi(const Call& call);
  std::shared_ptr<const std::string> document(const std::string& key, const std::function<std::string()>& make);
  void drop_documents(std::chrono::steady_clock::time_point before);

  // ---- node_proxy.cc ---------------------------------------------------------------------------------------------
  [[nodiscard]] static bool connects(const Call& call);
  Task<Result<Answer>> serve_node(Call& call);
  Task<Result<Answer>> stream_logs(Call& call, const Json& pod);
  static Task<Result<std::unique_ptr<http::BodyWriter>>> start_logs(Call& call);
  Task<Result<Answer>> upgrade_at_node(Call& call, std::string url);
  Task<Result<Answer>> pass_upgrade(Call& call, std::shared_ptr<http::Client> client, http::ClientRequest request);
  Task<Status> admit_connect(Call& call) const;
  static Task<void> copy_body(http::ResponseStream& source, http::BodyWriter& writer);
  [[nodiscard]] Result<std::string> node_url(std::string name) const;
  Task<Result<Json>> node_summary(std::string node);

  // ---- proxy.cc --------------------------------------------------------------------------------------------------
  Task<Result<Answer>> serve_proxy(Call& call);
  Task<Result<Answer>> pass_answer(Call& call, http::ResponseStream& source, ProxyLinks links);
  [[nodiscard]] Result<ProxyTarget> proxy_target(const Call& call) const;

  Registry& registry;
  Authenticator& authenticator;
  Authorizer& authorizer;
  Admission* admission;
  ApiServerOptions options;
  Clock& clock;
  Discovery discovery;
  std::atomic<std::shared_ptr<http::Client>> node_client;  ///< replaced when its certificate is
  std::shared_ptr<http::Client> proxy_client;              ///< to pods: nobody vouches for their certificates
  ResourceMetrics resource_metrics;
  std::atomic<bool> ready = false;

  struct Document {
    std::shared_ptr<const std::string> body;
    std::chrono::steady_clock::time_point used;
  };
  std::mutex documents_mutex;
  std::map<std::string, Document> documents;

  metrics::Family<metrics::Counter>& requests;
  metrics::Family<metrics::Histogram>& durations;
  metrics::Family<metrics::Gauge>& long_running;
};

/// The answer with `body` of `content_type`, and what every answer has.
[[nodiscard]] http::Response make_response(int status, std::string body, std::string content_type = "application/json");
/// The failure as an answer.
[[nodiscard]] http::Response make_failure(const Call& call, const Error& error);
/// Whether a query parameter is a true boolean as Kubernetes reads it (present and not "false" or "0").
[[nodiscard]] bool truthy(const http::Query& query, std::string_view name);
/// Headers that every answer, streamed ones too, carries.
void add_common_headers(const Call& call, http::Headers& headers);

}  // namespace brume::apiserver
