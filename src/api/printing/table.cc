#include "brume/api/table.h"

#include <array>

#include "api/printing/printer.h"

namespace brume::api {

namespace {

using printing::Printer;

constexpr std::array kDefaultColumns = {
    printing::kNameColumn,
    TableColumn{"Created At", "date", "", "When the object was created."},
};

const Printer* printer_of(const Resource& resource) {
  for (const auto list : {printing::pod_printers(), printing::workload_printers(), printing::core_printers(),
                          printing::network_printers(), printing::storage_printers(), printing::policy_printers()}) {
    for (const Printer& printer : list) {
      if (printer.plural == resource.plural && printer.group == resource.group) return &printer;
    }
  }
  return nullptr;
}

}  // namespace

std::span<const TableColumn> table_columns(const Resource& resource) {
  const Printer* printer = printer_of(resource);
  return printer != nullptr ? printer->columns : std::span<const TableColumn>(kDefaultColumns);
}

Json table_cells(const Resource& resource, const Json& object, WallTime now) {
  Json cells = Json::array();
  if (const Printer* printer = printer_of(resource)) {
    printer->row(cells, object, now);
  } else {
    cells.push_back(printing::name_of(object));
    cells.push_back(str(at(object, "metadata"), "creationTimestamp"));
  }
  return cells;
}

}  // namespace brume::api
