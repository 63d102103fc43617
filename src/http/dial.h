// Opening client sockets: names, addresses, unix sockets.
#pragma once

#include <memory>
#include <string>

#include "brume/base/task.h"
#include "deadline.h"
#include "socket_stream.h"
#include "url.h"

namespace brume::http {

/// Connects to `url`'s host (or to the numeric `dial_address` when not empty) or unix socket, one address after the
/// other, within `timeout` for all. kServiceUnavailable when a name does not resolve or nothing answers, kTimeout, kIo.
Task<Result<std::unique_ptr<SocketStream>>> dial(Url url, std::string dial_address, std::chrono::milliseconds timeout);

}  // namespace brume::http
