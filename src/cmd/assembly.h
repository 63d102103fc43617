// Assembly: the one place that makes the parts of a server, joins them, and knows their order.
#pragma once

#include <memory>

#include "brume/base/result.h"
#include "cmd/options.h"

namespace brume::cmd {

/// A whole server in this process. start() and stop() are called once each, from the main thread.
class Assembly {
 public:
  explicit Assembly(ServerOptions options);
  ~Assembly();  ///< after stop(), or when start() failed
  Assembly(const Assembly&) = delete;
  Assembly& operator=(const Assembly&) = delete;

  /// Brings everything up; returns when the API answers and the node is registered. On failure what was started is
  /// stopped again; the message says what is wrong and how to mend it.
  Status start();
  /// Ends everything in reverse order. Pods stay, unless asked otherwise.
  void stop();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace brume::cmd
