// meta.k8s.io/v1 Tables: the columns that kubectl get prints.
#pragma once

#include <span>
#include <string_view>

#include "brume/api/object.h"
#include "brume/api/resources.h"
#include "brume/base/json_fwd.h"
#include "brume/base/time.h"

namespace brume::api {

struct TableColumn {
  std::string_view name;
  std::string_view type;    ///< string, integer, boolean, date
  std::string_view format;  ///< name for the first, else ""
  std::string_view description;
  int priority = 0;  ///< 0: always; 1: -o wide
};

/// Columns of a resource; Name and Age (Created At) for those without printer of their own.
[[nodiscard]] std::span<const TableColumn> table_columns(const Resource& resource);
/// One row's cells, in column order. `object` may lack anything.
[[nodiscard]] Json table_cells(const Resource& resource, const Json& object, WallTime now);

}  // namespace brume::api
