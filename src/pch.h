// Precompiled for every library of a release build: what most files include and what costs most to parse. A file still
// includes what it uses; debug and sanitizer builds compile without this.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "brume/base/json.h"
#include "brume/base/result.h"
#include "brume/base/task.h"
