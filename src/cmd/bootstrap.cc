#include "cmd/bootstrap.h"

#include "brume/base/json.h"
#include "brume/base/task.h"

namespace brume::cmd {

Task<Result<api::ObjectPtr>> LocalBootstrapTarget::get(const api::Resource& resource, std::string ns,
                                                       std::string name) {
  return client_.get(resource, std::move(ns), std::move(name));
}

Task<Status> LocalBootstrapTarget::create(const api::Resource& resource, std::string ns, Json object) {
  auto created = co_await client_.create(resource, std::move(ns), std::move(object));
  if (!created) co_return fail(created.error());
  co_return Status();
}

Task<Status> LocalBootstrapTarget::update(const api::Resource& resource, std::string ns, std::string name,
                                          Json object) {
  auto updated = co_await client_.update(resource, std::move(ns), std::move(name), std::move(object));
  if (!updated) co_return fail(updated.error());
  co_return Status();
}

Task<Status> LocalBootstrapTarget::remove(const api::Resource& resource, std::string ns, std::string name) {
  return client_.remove(resource, std::move(ns), std::move(name));
}

}  // namespace brume::cmd
