// EndpointSlices that mirror the Endpoints of Services without a selector, which people and other controllers write by
// hand (KEP-0752).
#include <arpa/inet.h>

#include <algorithm>
#include <map>

#include "make.h"
#include "pod_control.h"

namespace brume::controller {

namespace {

constexpr std::size_t kMaxAddresses = 1000;  // kube-controller-manager's --mirroring-max-endpoints-per-subset
constexpr const char* kServiceName = "kubernetes.io/service-name";
constexpr const char* kManagedBy = "endpointslice.kubernetes.io/managed-by";
constexpr const char* kManager = "endpointslicemirroring-controller.k8s.io";
constexpr const char* kSkipMirror = "endpointslice.kubernetes.io/skip-mirror";
constexpr const char* kLeader = "control-plane.alpha.kubernetes.io/leader";
constexpr std::string_view kMirrored = "mirrored";  // index of the slices by ns/name of their Endpoints

/// Addresses that have the same ports, ready ones first.
struct Subset {
  Json ports = Json::array();
  std::vector<std::pair<Json, bool>> addresses = {};  // and whether it is ready
};

/// One slice that there should be.
struct Wanted {
  std::string family;
  Json ports;
  Json endpoints = Json::array();
};

struct Mirror {
  std::vector<Wanted> slices;
  std::size_t invalid = 0, skipped = 0;
};

// The subsets by ports: an address that several subsets name with other ports is one address with all of them. Not
// ready in one place is not ready.
std::vector<Subset> repack(const Json& subsets) {
  using Ready = std::map<std::string, std::pair<Json, bool>>;  // by address and target
  std::map<std::string, std::pair<Json, Ready>> by_port;       // by the port's bytes
  for (const Json& subset : at(subsets, "subsets")) {
    Json ports = at(subset, "ports");
    if (!ports.is_array() || ports.empty()) ports = Json::array({nullptr});
    for (const Json& port : ports) {
      auto& [value, addresses] = by_port[port.dump()];
      value = port;
      for (const bool ready : {true, false}) {
        for (const Json& address : at(subset, ready ? "addresses" : "notReadyAddresses")) {
          const std::string key =
              std::string(str(address, "ip")) + "/" + std::string(str(at(address, "targetRef"), "uid"));
          const auto [it, fresh] = addresses.try_emplace(key, address, ready);
          if (!fresh) it->second.second = it->second.second && ready;
        }
      }
    }
  }
  std::vector<std::pair<Ready, Subset>> groups;
  for (auto& [text, entry] : by_port) {
    auto& [port, addresses] = entry;
    auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == addresses; });
    if (group == groups.end()) {
      Subset subset;
      for (const bool ready : {true, false}) {
        for (const auto& [key, address] : addresses) {
          if (address.second == ready) subset.addresses.push_back(address);
        }
      }
      group = groups.emplace(groups.end(), std::move(addresses), std::move(subset));
    }
    if (!port.is_null()) group->second.ports.push_back(port);
  }
  std::vector<Subset> out;
  for (auto& [key, subset] : groups) out.push_back(std::move(subset));
  return out;
}

Json slice_ports(const Json& ports) {
  Json out = Json::array();
  for (const Json& port : ports) {
    Json one = {{"name", std::string(str(port, "name"))},
                {"port", num(port, "port")},
                {"protocol", str(port, "protocol").empty() ? "TCP" : std::string(str(port, "protocol"))}};
    if (!str(port, "appProtocol").empty()) one["appProtocol"] = port["appProtocol"];
    out.push_back(std::move(one));
  }
  return out;
}

Json slice_endpoint(const Json& address, bool ready) {
  Json out = {{"addresses", Json::array({address["ip"]})}, {"conditions", {{"ready", ready}}}};
  for (const char* field : {"targetRef", "nodeName", "hostname"}) {
    const Json& value = at(address, field);
    if (value.is_object() || !str(value).empty()) out[field] = value;
  }
  return out;
}

// IPv4 or IPv6; "" for what is no address.
std::string family_of(std::string_view ip) {
  in6_addr bytes;
  const std::string text(ip);
  if (inet_pton(AF_INET, text.c_str(), &bytes) == 1) return "IPv4";
  return inet_pton(AF_INET6, text.c_str(), &bytes) == 1 ? "IPv6" : "";
}

Mirror mirror_of(const Json& endpoints) {
  Mirror out;
  for (const Subset& subset : repack(endpoints)) {
    std::map<std::string, Wanted> families;
    std::size_t added = 0;
    for (const auto& [address, ready] : subset.addresses) {
      const std::string family = family_of(str(address, "ip"));
      if (family.empty()) {
        ++out.invalid;
      } else if (added == kMaxAddresses) {
        ++out.skipped;
      } else {
        ++added;
        families[family].endpoints.push_back(slice_endpoint(address, ready));
      }
    }
    for (auto& [family, wanted] : families) {
      wanted.family = family;
      wanted.ports = slice_ports(subset.ports);
      out.slices.push_back(std::move(wanted));
    }
  }
  return out;
}

class EndpointSliceMirroring final : public Controller {
 public:
  explicit EndpointSliceMirroring(Context& context);

 private:
  Task<Status> reconcile(std::string key) override;
  [[nodiscard]] bool should_mirror(const ObjectPtr& endpoints);
  Task<Status> write(ObjectPtr endpoints, std::vector<Wanted> wanted);
  Task<Status> write_slice(ObjectPtr endpoints, ObjectPtr present, Json body);
  Task<Status> remove(std::string key, ObjectPtr slice);
  static Json body_of(const ObjectPtr& endpoints, const Wanted& wanted);

  Informer& endpoints_;
  Informer& services_;
  Informer& slices_;
  client::Projection<bool> selects_;
  Expectations writes_;
};

EndpointSliceMirroring::EndpointSliceMirroring(Context& context)
    : Controller(context, "endpoint-slice-mirroring-controller"),
      endpoints_(watch("endpoints")),
      services_(watch("services")),
      slices_(use("endpointslices.discovery.k8s.io")),
      selects_(services_, [](const Object& service) { return at(service.parse(), "spec", "selector").is_object(); }),
      writes_(slices_) {
  slices_.add_index(kMirrored, [](const Object& slice, std::vector<std::string>& values) {
    if (slice.label(kManagedBy) == kManager)
      values.push_back(slice.ns() + "/" + std::string(slice.label(kServiceName)));
  });
  // Repairs what others did to a slice of ours; our own writes come back here too and find nothing to do.
  const auto changed = [this](const ObjectPtr& slice) {
    if (slice->label(kManagedBy) == kManager) queue_.add(slice->ns() + "/" + std::string(slice->label(kServiceName)));
  };
  slices_.add_handler({.added = changed,
                       .updated =
                           [changed](const ObjectPtr& old, const ObjectPtr& now) {
                             changed(old);
                             changed(now);
                           },
                       .deleted = changed});
}

bool EndpointSliceMirroring::should_mirror(const ObjectPtr& endpoints) {
  if (!endpoints || endpoints->label(kSkipMirror) == "true") return false;
  const auto service = services_.get(endpoints->key());
  if (!service || selects_.of(service)) return false;
  return !at(endpoints->parse(), "metadata", "annotations").contains(kLeader);
}

Task<Status> EndpointSliceMirroring::reconcile(std::string key) {
  const auto endpoints = endpoints_.get(key);
  if (!should_mirror(endpoints)) {
    const auto slices = slices_.by_index(kMirrored, key);
    for (const auto& slice : slices) BRUME_CO_CHECK(co_await remove(key, slice));
    if (!endpoints) writes_.forget(key);
    co_return Status{};
  }
  if (!writes_.satisfied(key)) {
    queue_.add_after(key, std::chrono::seconds(1));
    co_return Status{};
  }
  Mirror mirror = mirror_of(endpoints->parse());
  if (mirror.invalid > 0) {
    events_.warning(
        *endpoints, "InvalidIPAddress",
        "Skipped " + std::to_string(mirror.invalid) + " invalid IP addresses when mirroring to EndpointSlices");
  }
  if (mirror.skipped > 0) {
    events_.warning(*endpoints, "TooManyAddressesToMirror",
                    "A max of " + std::to_string(kMaxAddresses) +
                        " addresses can be mirrored to EndpointSlices per Endpoints subset. " +
                        std::to_string(mirror.skipped + mirror.invalid) + " addresses were skipped");
  }
  auto done = co_await write(endpoints, std::move(mirror.slices));
  if (!done) {
    events_.warning(*endpoints, "FailedToUpdateEndpointSlices",
                    "Error updating Endpoint Slices for Endpoints " + key + ": " + done.error().message);
  }
  co_return done;
}

Json EndpointSliceMirroring::body_of(const ObjectPtr& endpoints, const Wanted& wanted) {
  const Json metadata = at(endpoints->parse(), "metadata");
  Json labels = at(metadata, "labels").is_object() ? metadata["labels"] : Json::object();
  labels[kServiceName] = endpoints->name();
  labels[kManagedBy] = kManager;
  Json out = {{"metadata",
               {{"generateName", endpoints->name() + "-"},
                {"labels", std::move(labels)},
                {"ownerReferences", Json::array({client::controller_reference(*endpoints)})}}},
              {"addressType", wanted.family},
              {"ports", wanted.ports},
              {"endpoints", wanted.endpoints}};
  for (const auto& [key, value] : at(metadata, "annotations").items()) {
    const bool own = key == "endpoints.kubernetes.io/last-change-trigger-time" ||
                     key == "kubectl.kubernetes.io/last-applied-configuration";
    if (!own) out["metadata"]["annotations"][key] = value;
  }
  return out;
}

// Each wanted slice takes the present one of its family and ports, or else any that is left over of its family, or else
// is new. Deletes come last, so that no endpoint is missing meanwhile.
Task<Status> EndpointSliceMirroring::write(ObjectPtr endpoints, std::vector<Wanted> wanted) {
  std::vector<ObjectPtr> spare = slices_.by_index(kMirrored, endpoints->key());
  std::vector<ObjectPtr> taken(wanted.size());
  for (const bool same_ports : {true, false}) {
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (taken[i]) continue;
      const auto fits = [&](const ObjectPtr& slice) {
        const Json value = slice->parse();
        if (str(value, "addressType") != wanted[i].family || slice->deleting()) return false;
        return !same_ports || at(value, "ports") == wanted[i].ports ||
               (wanted[i].ports.empty() && at(value, "ports").is_null());
      };
      const auto found = std::find_if(spare.begin(), spare.end(), fits);
      if (found == spare.end()) continue;
      taken[i] = *found;
      spare.erase(found);
    }
  }
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (!taken[i] && endpoints->deleting()) continue;
    BRUME_CO_CHECK(co_await write_slice(endpoints, taken[i], body_of(endpoints, wanted[i])));
  }
  for (const auto& slice : spare) BRUME_CO_CHECK(co_await remove(endpoints->key(), slice));
  co_return Status{};
}

// `present` null: a new one.
Task<Status> EndpointSliceMirroring::write_slice(ObjectPtr endpoints, ObjectPtr present, Json body) {
  if (!present) {
    auto made = co_await client().create(slices_.resource(), endpoints->ns(), std::move(body));
    if (!made) {
      if (namespace_goes(made.error())) co_return Status{};
      co_return fail(made.error());
    }
    writes_.created(endpoints->key(), (*made)->resource_version());
    co_return Status{};
  }
  const Json before = present->parse();
  Json after = before;
  for (const char* field : {"labels", "annotations", "ownerReferences"}) {
    const Json& value = at(body, "metadata", field);
    if (value.is_null()) {
      after["metadata"].erase(field);
    } else {
      after["metadata"][field] = value;
    }
  }
  for (const char* field : {"ports", "endpoints"}) {
    if (!body[field].empty() || !at(before, field).is_null()) after[field] = body[field];
  }
  if (after == before) co_return Status{};
  auto written = co_await client().update(slices_.resource(), endpoints->ns(), present->name(), std::move(after));
  if (!written) co_return fail(written.error());
  writes_.created(endpoints->key(), (*written)->resource_version());
  co_return Status{};
}

Task<Status> EndpointSliceMirroring::remove(std::string key, ObjectPtr slice) {
  auto done = co_await client().remove(slices_.resource(), slice->ns(), slice->name(), {.uid = slice->uid()});
  if (!done && done.error().code != Code::kNotFound) co_return done;
  writes_.deleting(key, slice);
  co_return Status{};
}

}  // namespace

std::unique_ptr<Controller> make_endpoint_slice_mirroring(Context& context) {
  return std::make_unique<EndpointSliceMirroring>(context);
}

}  // namespace brume::controller
