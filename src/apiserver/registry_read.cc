// Lists and watches: what resourceVersion, limit and continue ask for.
#include <chrono>

#include "brume/api/validation.h"
#include "brume/apiserver/registry.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "errors.h"
#include "registry_impl.h"

namespace brume::apiserver {

using Impl = Registry::Impl;

namespace {

/// How long a read waits for a revision that this server has not seen (as Kubernetes' cacher does).
constexpr auto kFreshnessWait = std::chrono::seconds(3);
constexpr auto kFreshnessPoll = std::chrono::milliseconds(20);

constexpr std::string_view kContinueExpired =
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list.";
constexpr std::string_view kListExpired = "The resourceVersion for the provided list is too old.";

/// In the place of a token's revision: whatever is there now.
constexpr std::int64_t kPresent = -1;

struct ContinueToken {
  std::int64_t revision = 0;  // 0: the present
  std::string start;
};

std::string encode_token(std::int64_t revision, const std::string& start) {
  return base64url_encode(dump_json(Json{{"v", "meta.k8s.io/v1"}, {"rv", revision}, {"start", start}}));
}

Result<ContinueToken> decode_token(std::string_view text) {
  const auto bytes = base64url_decode(text);
  const auto json = bytes ? parse_json(*bytes) : Result<Json>(fail(Code::kBadRequest, ""));
  const bool known = json && str(*json, "v") == "meta.k8s.io/v1" && !str(*json, "start").empty();
  const std::int64_t revision = known ? num(*json, "rv") : 0;
  if (revision <= 0 && revision != kPresent) return fail(Code::kBadRequest, "continue key is not valid");
  return ContinueToken{std::max<std::int64_t>(revision, 0), std::string(str(*json, "start"))};
}

Result<std::int64_t> parse_revision(std::string_view text) {
  if (text.empty()) return 0;
  const auto value = parse_int(text);
  if (!value || *value < 0) {
    return fail({Code::kBadRequest, "resourceVersion: Invalid value: " + go_quote(text) +
                                        ": strconv.ParseUint: parsing " + go_quote(text) + ": invalid syntax"});
  }
  return *value;
}

Error forbidden_option(std::string_view field, std::string_view why) {
  Error error{Code::kInvalid,
              "ListOptions.meta.k8s.io \"\" is invalid: " + std::string(field) + ": Forbidden: " + std::string(why)};
  error.causes.push_back({"FieldValueForbidden", "Forbidden: " + std::string(why), std::string(field)});
  return error;
}

Error unsupported_match(std::string_view value, std::string_view supported) {
  const std::string why = "Unsupported value: " + go_quote(value) + ": supported values: " + std::string(supported);
  Error error{Code::kInvalid, "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: " + why};
  error.causes.push_back({"FieldValueNotSupported", why, "resourceVersionMatch"});
  return error;
}

Status check_list(const ListQuery& query) {
  const std::string& match = query.resource_version_match;
  if (match.empty()) return {};
  if (query.resource_version.empty()) {
    return fail(forbidden_option("resourceVersionMatch",
                                 "resourceVersionMatch is forbidden unless resourceVersion is provided"));
  }
  if (!query.continue_token.empty()) {
    return fail(
        forbidden_option("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"));
  }
  if (match != "Exact" && match != "NotOlderThan") {
    return fail(unsupported_match(match, R"("Exact", "NotOlderThan", "")"));
  }
  if (match == "Exact" && query.resource_version == "0") {
    return fail(forbidden_option("resourceVersionMatch",
                                 "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
  }
  return {};
}

Status check_watch(const WatchQuery& query) {
  const std::string& match = query.resource_version_match;
  if (query.send_initial_events && match != "NotOlderThan") {
    return fail(forbidden_option("resourceVersionMatch",
                                 "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
  }
  if (!match.empty() && !query.send_initial_events) {
    return fail(forbidden_option("resourceVersionMatch",
                                 "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"));
  }
  return {};
}

}  // namespace

Task<Status> Impl::wait_for_revision(std::int64_t revision) {
  const auto deadline = clock.steady() + kFreshnessWait;
  while (newest.load(std::memory_order_acquire) < revision) {
    if (clock.steady() >= deadline) {
      Error error{Code::kTimeout, "Timeout: Too large resource version: " + std::to_string(revision) +
                                      ", current: " + std::to_string(newest.load())};
      error.causes.push_back({"ResourceVersionTooLarge", "Too large resource version", ""});
      error.retry_after_seconds = 1;
      co_return fail(std::move(error));
    }
    co_await clock.sleep(kFreshnessPoll);
  }
  co_return Status{};
}

std::string resume_token(std::string_view continue_token) {
  const auto token = decode_token(continue_token);
  return token ? encode_token(kPresent, token->start) : std::string();
}

Task<Result<ListPage>> Registry::list(const api::Resource& resource, ListQuery query) {
  if (Computed* found = computed(resource)) co_return co_await found->list(resource, std::move(query));
  BRUME_CO_TRY(const Stored* stored, impl_->require(resource));
  BRUME_CO_CHECK(check_list(query));
  BRUME_CO_TRY(const Filter filter, Filter::parse(resource, query.ns, query.label_selector, query.field_selector));
  BRUME_CO_TRY(const std::int64_t revision, parse_revision(query.resource_version));
  ContinueToken from;
  std::int64_t exact = 0;
  if (!query.continue_token.empty()) {
    if (revision != 0) {
      co_return fail(Code::kBadRequest, "specifying resource version is not allowed when using continue");
    }
    BRUME_CO_TRY(from, decode_token(query.continue_token));
    exact = from.revision;
    if (exact != 0 && exact < impl_->oldest_page.load()) {
      co_return fail(Code::kExpired, std::string(kContinueExpired));
    }
  } else if (revision != 0 &&
             (query.resource_version_match == "Exact" || (query.limit > 0 && query.resource_version_match.empty()))) {
    exact = revision;
  }
  if (const auto wanted = std::max(exact, revision); wanted > impl_->newest.load(std::memory_order_acquire)) {
    BRUME_CO_CHECK(co_await impl_->wait_for_revision(wanted));
  }
  const std::size_t limit = query.limit > 0 ? static_cast<std::size_t>(query.limit) : 0;
  auto found = stored->cache->list(filter, from.start, limit, exact);
  if (!found) {
    co_return fail(Code::kExpired, std::string(query.continue_token.empty() ? kListExpired : kContinueExpired));
  }
  ListPage page;
  page.items = std::move(found->items);
  page.resource_version = found->revision;
  page.remaining = found->remaining;
  if (!found->next_key.empty()) page.continue_token = encode_token(found->revision, found->next_key);
  co_return page;
}

Task<Result<std::unique_ptr<WatchStream>>> Registry::watch(const api::Resource& resource, WatchQuery query) {
  BRUME_CO_TRY(const Stored* stored, impl_->require(resource));
  BRUME_CO_CHECK(check_watch(query));
  WatchCache::WatchStart start;
  BRUME_CO_TRY(start.filter, Filter::parse(resource, query.ns, query.label_selector, query.field_selector));
  BRUME_CO_TRY(start.after, parse_revision(query.resource_version));
  if (impl_->closed.load()) co_return fail(Code::kServiceUnavailable, "the server stops");
  const bool unset = start.after == 0;
  if (query.send_initial_events.value_or(unset)) {
    start.from_state = true;
    start.initial_bookmark = query.send_initial_events.value_or(false) && query.allow_bookmarks;
    BRUME_CO_CHECK(co_await impl_->wait_for_revision(start.after));
  } else if (unset) {
    start.after = impl_->newest.load(std::memory_order_acquire);
  }
  const Executor executor = co_await boost::asio::this_coro::executor;
  co_return stored->cache->watch(std::move(start), executor);
}

}  // namespace brume::apiserver
