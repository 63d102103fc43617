// What every namespace and every cluster has: the ServiceAccount `default`, the CAs' ConfigMaps, the system namespaces,
// the Service `kubernetes`.
#include <algorithm>

#include "make.h"

namespace brume::controller {

namespace {

// Writing into a namespace that is going away is no failure.
bool namespace_ends(const Error& error) { return error.code == Code::kNotFound || namespace_goes(error); }

/// One object of a fixed name per namespace, made again when it is deleted and mended when it is changed.
class PerNamespace : public Controller {
 protected:
  PerNamespace(Context& context, std::string name, std::string_view resource, std::string object_name)
      : Controller(context, std::move(name)),
        namespaces_(watch("namespaces")),
        objects_(use(resource)),
        object_name_(std::move(object_name)) {
    const auto changed = [this](const ObjectPtr& object) {
      if (object->name() == object_name_) queue_.add(object->ns());
    };
    objects_.add_handler({.added = nullptr,
                          .updated = [changed](const ObjectPtr&, const ObjectPtr& now) { changed(now); },
                          .deleted = changed});
  }

  virtual Json wanted(const Json& before) = 0;
  /// Whether the namespace is to have the object.
  [[nodiscard]] virtual bool applies(std::string_view /*ns*/) const { return true; }

  Task<Status> reconcile(std::string ns) override {
    if (!applies(ns)) co_return Status{};
    const auto space = namespaces_.get(ns);
    if (!space || space->deleting()) co_return Status{};
    const auto there = objects_.get(ns, object_name_);
    const Json before = there ? there->parse() : Json{{"metadata", {{"name", object_name_}}}};
    Json body = wanted(before);
    if (there && body == before) co_return Status{};
    Result<ObjectPtr> done;
    if (there) {
      done = co_await client().update(objects_.resource(), ns, object_name_, std::move(body));
    } else {
      done = co_await client().create(objects_.resource(), ns, std::move(body));
    }
    if (done || done.error().code == Code::kAlreadyExists || namespace_ends(done.error())) co_return Status{};
    co_return fail(done.error());
  }

 private:
  Informer& namespaces_;
  Informer& objects_;
  std::string object_name_;
};

class ServiceAccountController final : public PerNamespace {
 public:
  explicit ServiceAccountController(Context& context)
      : PerNamespace(context, "service-account-controller", "serviceaccounts", "default") {}
  Json wanted(const Json& before) override { return before; }
};

class RootCaController final : public PerNamespace {
 public:
  explicit RootCaController(Context& context)
      : PerNamespace(context, "root-ca-certificate-publisher", "configmaps", "kube-root-ca.crt") {}
  Json wanted(const Json& before) override {
    Json out = before;
    out["data"] = {{"ca.crt", context_.options.root_ca_pem}};
    out["metadata"]["annotations"]["kubernetes.io/description"] =
        "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
        "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
        "Kubernetes clusters.";
    return out;
  }
};

/// Who may be believed to be whom, for API servers beside this one: they take clients' certificates that this CA
/// signed.
class ClientCaController final : public PerNamespace {
 public:
  explicit ClientCaController(Context& context)
      : PerNamespace(context, "cluster-authentication-trust", "configmaps", "extension-apiserver-authentication") {}
  Json wanted(const Json& before) override {
    Json out = before;
    out["data"]["client-ca-file"] = context_.options.client_ca_pem;
    return out;
  }
  [[nodiscard]] bool applies(std::string_view ns) const override { return ns == "kube-system"; }
};

/// The namespaces that Kubernetes always has, and in `default` the Service through which pods reach the API.
class KubernetesService final : public Controller {
 public:
  explicit KubernetesService(Context& context)
      : Controller(context, "kubernetes-service"),
        namespaces_(use("namespaces")),
        services_(use("services")),
        endpoints_(use("endpoints")),
        slices_(use("endpointslices.discovery.k8s.io")) {
    const auto mend = [this](const ObjectPtr& object) {
      if (object->name() == "kubernetes" && object->ns() == "default") queue_.add("kubernetes");
    };
    for (auto* informer : {&services_, &endpoints_, &slices_}) {
      informer->add_handler({.added = nullptr,
                             .updated = [mend](const ObjectPtr&, const ObjectPtr& now) { mend(now); },
                             .deleted = mend});
    }
    namespaces_.add_handler(
        {.added = nullptr, .updated = nullptr, .deleted = [this](const ObjectPtr&) { queue_.add("kubernetes"); }});
  }

  void options_changed() override { queue_.add("kubernetes"); }

 private:
  void synced() override { queue_.add("kubernetes"); }

  Task<Status> reconcile(std::string) override {
    for (const char* name : {"default", "kube-system", "kube-public", "kube-node-lease"}) {
      if (namespaces_.get(name)) continue;
      Json body = {{"metadata", {{"name", name}}}};
      auto done = co_await client().create(namespaces_.resource(), "", std::move(body));
      if (!done && done.error().code != Code::kAlreadyExists) co_return fail(done.error());
    }
    if (context_.options.service_ip.empty()) co_return Status{};
    BRUME_CO_CHECK(co_await ensure(services_, service()));
    BRUME_CO_CHECK(co_await ensure(endpoints_, endpoints()));
    BRUME_CO_CHECK(co_await ensure(slices_, slice()));
    if (context_.options.service_cidr.empty()) co_return Status{};
    co_return co_await ensure_range();
  }

  // The ServiceCIDR of the range that addresses are taken from. What it says cannot change: of another range it is made
  // anew.
  Task<Status> ensure_range() {
    const auto& ranges = api::res("servicecidrs.networking.k8s.io");
    const Json wanted = Json::array({context_.options.service_cidr});
    auto there = co_await client().get(ranges, "", "kubernetes");
    const auto first = [](const Json& range) {
      const Json& cidrs = at(range, "spec", "cidrs");
      return cidrs.is_array() && !cidrs.empty() ? std::string(str(cidrs[0])) : std::string();
    };
    if (there && first((*there)->parse()) != context_.options.service_cidr) {
      BRUME_CO_CHECK(co_await client().remove(ranges, "", "kubernetes"));
      there = fail(Code::kNotFound, "");
    }
    if (!there && there.error().code == Code::kNotFound) {
      Json body = {{"metadata", {{"name", "kubernetes"}}}, {"spec", {{"cidrs", wanted}}}};
      there = co_await client().create(ranges, "", std::move(body));
      // It is on its way out: its end is not waited for here.
      if (!there && there.error().code == Code::kAlreadyExists) co_return Status{};
    }
    if (!there) co_return fail(there.error());
    const Json now = (*there)->parse();
    if (!client::find_condition(at(now, "status"), "Ready").is_null()) co_return Status{};
    const std::string time = format_rfc3339(context_.clock().now());
    Json ready = {{"type", "Ready"},
                  {"status", "True"},
                  {"reason", ""},
                  {"message", "Kubernetes default Service CIDR is ready"},
                  {"lastTransitionTime", time}};
    Json patch = {{"status", {{"conditions", Json::array({std::move(ready)})}}}};
    auto written = co_await client().patch(ranges, "", "kubernetes", client::PatchType::kMerge, std::move(patch),
                                           {.subresource = "status"});
    if (!written) co_return fail(written.error());
    co_return Status{};
  }

  /// Makes the object hold `wanted`'s fields (others, such as those defaulted, are left alone).
  Task<Status> ensure(Informer& informer, Json wanted) {
    const auto there = informer.get("default", "kubernetes");
    Result<ObjectPtr> done;
    if (!there) {
      done = co_await client().create(informer.resource(), "default", std::move(wanted));
    } else {
      const Json before = there->parse();
      Json body = before;
      body.merge_patch(wanted);
      if (body == before) co_return Status{};
      done = co_await client().update(informer.resource(), "default", "kubernetes", std::move(body));
    }
    if (done || done.error().code == Code::kAlreadyExists) co_return Status{};
    co_return fail(done.error());
  }

  [[nodiscard]] std::string_view family() const {
    return context_.options.service_ip.find(':') == std::string::npos ? "IPv4" : "IPv6";
  }

  [[nodiscard]] Json service() const {
    const auto& ip = context_.options.service_ip;
    return {{"metadata",
             {{"name", "kubernetes"},
              {"namespace", "default"},
              {"labels", {{"component", "apiserver"}, {"provider", "kubernetes"}}}}},
            {"spec",
             {{"type", "ClusterIP"},
              {"clusterIP", ip},
              {"clusterIPs", Json::array({ip})},
              {"ipFamilies", Json::array({std::string(family())})},
              {"ipFamilyPolicy", "SingleStack"},
              {"sessionAffinity", "None"},
              {"ports", Json::array({{{"name", "https"},
                                      {"protocol", "TCP"},
                                      {"port", 443},
                                      {"targetPort", context_.options.secure_port}}})}}}};
  }

  [[nodiscard]] Json endpoints() const {
    return {
        {"metadata",
         {{"name", "kubernetes"},
          {"namespace", "default"},
          {"labels", {{"endpointslice.kubernetes.io/skip-mirror", "true"}}}}},
        {"subsets",
         Json::array(
             {{{"addresses", Json::array({{{"ip", context_.options.advertise_address}}})},
               {"ports",
                Json::array({{{"name", "https"}, {"port", context_.options.secure_port}, {"protocol", "TCP"}}})}}})}};
  }

  [[nodiscard]] Json slice() const {
    return {{"metadata",
             {{"name", "kubernetes"},
              {"namespace", "default"},
              {"labels", {{"kubernetes.io/service-name", "kubernetes"}}}}},
            {"addressType",
             std::string(context_.options.advertise_address.find(':') == std::string::npos ? "IPv4" : "IPv6")},
            {"endpoints", Json::array({{{"addresses", Json::array({context_.options.advertise_address})},
                                        {"conditions", {{"ready", true}}}}})},
            {"ports", Json::array({{{"name", "https"}, {"port", context_.options.secure_port}, {"protocol", "TCP"}}})}};
  }

  Informer& namespaces_;
  Informer& services_;
  Informer& endpoints_;
  Informer& slices_;
};

}  // namespace

std::unique_ptr<Controller> make_service_account(Context& context) {
  return std::make_unique<ServiceAccountController>(context);
}

std::unique_ptr<Controller> make_root_ca(Context& context) { return std::make_unique<RootCaController>(context); }

std::unique_ptr<Controller> make_client_ca(Context& context) { return std::make_unique<ClientCaController>(context); }

std::unique_ptr<Controller> make_kubernetes_service(Context& context) {
  return std::make_unique<KubernetesService>(context);
}

}  // namespace brume::controller
