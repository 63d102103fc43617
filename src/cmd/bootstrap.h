// The bootstrap objects' way to the registry.
#pragma once

#include "brume/apiserver/security.h"
#include "brume/client/client.h"

namespace brume::cmd {

/// apiserver::BootstrapTarget over a Client with system:masters, which outlives it.
class LocalBootstrapTarget final : public apiserver::BootstrapTarget {
 public:
  explicit LocalBootstrapTarget(client::Client& client) : client_(client) {}
  Task<Result<api::ObjectPtr>> get(const api::Resource& resource, std::string ns, std::string name) override;
  Task<Status> create(const api::Resource& resource, std::string ns, Json object) override;
  Task<Status> update(const api::Resource& resource, std::string ns, std::string name, Json object) override;
  Task<Status> remove(const api::Resource& resource, std::string ns, std::string name) override;

 private:
  client::Client& client_;
};

}  // namespace brume::cmd
