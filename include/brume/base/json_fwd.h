// nlohmann::json by forward declaration, for headers. Include brume/base/json.h where values are touched.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace brume {
using Json = nlohmann::json;
}
