// for_each_parallel() under the name by which clients know it.
#pragma once

#include "brume/base/parallel.h"

namespace brume::client {

using brume::for_each_parallel;

}  // namespace brume::client
