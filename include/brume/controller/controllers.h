// The controllers: everything that kube-controller-manager does here, on one loop.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "brume/base/clock.h"
#include "brume/base/task_fwd.h"
#include "brume/client/client.h"
#include "brume/client/informer.h"

namespace brume::controller {

/// What controllers know of the cluster beside the API. Defaults are kube-controller-manager's.
struct Options {
  /// PEM of the CA that signed the server's certificate, for the ConfigMap kube-root-ca.crt. Empty: none is published.
  std::string root_ca_pem = {};
  /// PEM of the CA that signs clients' certificates, for the ConfigMap extension-apiserver-authentication. Empty: none.
  std::string client_ca_pem = {};

  /// The Service `kubernetes`: its address (first of the service range), and where the server answers. An empty
  /// service_ip leaves the service alone.
  std::string service_ip = {};
  std::string service_cidr = {};  ///< of the ServiceCIDR `kubernetes`; empty: none is made
  std::string advertise_address = {};
  std::uint16_t secure_port = 6443;

  std::chrono::seconds node_monitor_grace_period{50};  ///< lease age after which a node is Unknown
  std::chrono::seconds node_monitor_period{5};
  std::size_t terminated_pod_threshold = 12500;  ///< finished pods above it are deleted, oldest first
  std::chrono::seconds event_ttl{3600};
  bool garbage_collection = true;

  std::chrono::milliseconds horizontal_pod_autoscaler_sync_period{15'000};
  std::chrono::seconds horizontal_pod_autoscaler_downscale_stabilization{300};
  std::chrono::seconds horizontal_pod_autoscaler_cpu_initialization_period{300};
  std::chrono::seconds horizontal_pod_autoscaler_initial_readiness_delay{30};
  double horizontal_pod_autoscaler_tolerance = 0.1;
};

/// Owner of all controllers. Owner: the loop of `informers`; every call on it.
class Controllers {
 public:
  /// Informers are made at once and started by start().
  Controllers(client::InformerFactory& informers, Options options);
  ~Controllers();  ///< after stop(), or when never started
  Controllers(const Controllers&) = delete;
  Controllers& operator=(const Controllers&) = delete;

  /// Returns at once; each controller begins when what it reads has been listed.
  void start();
  Task<void> stop();
  /// The server has another address: the Service `kubernetes` leads there from now on.
  void set_advertise_address(std::string address);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace brume::controller
