#include "cmd/image_api.h"

#include "apiserver/access.h"
#include "brume/base/json.h"
#include "brume/base/task.h"

namespace brume::cmd {

namespace {

using runtime::Image;

Json describe(const Image& image) {
  return {{"id", image.id},
          {"names", image.repo_tags},
          {"digests", image.repo_digests},
          {"size", image.size},
          {"pinned", image.pinned}};
}

Result<Json> describe(const Result<Image>& image) {
  if (!image) return fail(image.error());
  return Json::array({describe(*image)});
}

/// Runs on the node loop.
Task<Result<Json>> answer(runtime::Images* images, std::string method, std::string what, std::string name,
                          std::string path) {
  if (method == "GET" && what.empty()) {
    Json all = Json::array();
    for (const auto& image : images->list()) all.push_back(describe(*image));
    co_return all;
  }
  if (method == "POST" && what == "/import") {
    auto imported = co_await images->import_archive(path);
    if (!imported) co_return fail(imported.error());
    Json all = Json::array();
    for (const auto& image : *imported) all.push_back(describe(image));
    co_return all;
  }
  if (method == "POST" && what == "/pull") {
    auto reference = runtime::ImageReference::parse(name);
    if (!reference) co_return fail(reference.error());
    co_return describe(co_await images->pull(*reference, {}));
  }
  if (method == "DELETE" && what.empty()) {
    auto removed = co_await images->remove(name);
    if (!removed) co_return fail(removed.error());
    co_return Json::array();
  }
  co_return fail(Code::kNotFound, "there is no " + method + " " + std::string(kImagePath) + what);
}

Task<void> respond(http::Exchange& exchange, Result<Json> result) {
  http::Response response;
  response.headers.add("Content-Type", "application/json");
  if (result) {
    response.body = dump_json(*result);
  } else {
    const Error& error = result.error();
    response.status = http_status_of(error.code);
    response.body = dump_json({{"kind", "Status"},
                               {"apiVersion", "v1"},
                               {"status", "Failure"},
                               {"message", error.message},
                               {"reason", reason_of(error.code)},
                               {"code", response.status}});
  }
  (void)co_await exchange.respond(std::move(response));  // a caller that went away needs no answer
}

Task<void> serve(http::Exchange& exchange, apiserver::Authenticator& authenticator, runtime::Images& images,
                 Executor node_loop) {
  const http::Request& request = exchange.request();
  auto user = co_await authenticator.authenticate(request);
  if (!user) {
    co_await respond(exchange, fail(user.error()));
    co_return;
  }
  if (!user->in_group("system:masters")) {
    co_await respond(exchange, fail(Code::kForbidden, "images are the admin's: use the admin kubeconfig"));
    co_return;
  }
  std::function<Task<Result<Json>>()> work =
      [images = &images, method = request.method, what = request.path.substr(kImagePath.size()),
       name = std::string(request.query.get("name")),
       path = std::string(request.query.get("path"))] { return answer(images, method, what, name, path); };
  auto result = co_await on_loop<Result<Json>>(node_loop, std::move(work));
  co_await respond(exchange, std::move(result));
}

}  // namespace

http::Handler with_image_api(http::Handler next, apiserver::Authenticator& authenticator, runtime::Images& images,
                             const Executor& node_loop) {
  // A plain function returning the coroutine: nothing captured is used after the first suspension but by copy.
  return [next = std::move(next), auth = &authenticator, images = &images,
          node_loop](http::Exchange& exchange) -> Task<void> {
    const auto& path = exchange.request().path;
    if (!path.starts_with(kImagePath)) return next(exchange);
    return serve(exchange, *auth, *images, node_loop);
  };
}

}  // namespace brume::cmd
