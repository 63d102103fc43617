#include "cmd/own_image.h"

#include <elf.h>
#include <link.h>

#include <cstring>

#include "brume/base/json.h"
#include "brume/base/log.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "cmd/version.h"

namespace brume::cmd {

namespace {

constexpr const char* kBuildLabel = "brume.dev/build-id";

// The NT_GNU_BUILD_ID note of the running program, in hex; "" when it was linked without.
std::string build_id() {
  std::string id;
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t /*size*/, void* out) {
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& header = info->dlpi_phdr[i];
          if (header.p_type != PT_NOTE) continue;
          const auto* note = reinterpret_cast<const char*>(info->dlpi_addr + header.p_vaddr);
          const char* end = note + header.p_memsz;
          while (note + sizeof(ElfW(Nhdr)) <= end) {
            ElfW(Nhdr) head{};
            std::memcpy(&head, note, sizeof head);
            const char* name = note + sizeof head;
            const char* content = name + (head.n_namesz + 3) / 4 * 4;
            if (head.n_type == NT_GNU_BUILD_ID &&
                std::string_view(name, head.n_namesz) == std::string_view("GNU\0", 4)) {
              *static_cast<std::string*>(out) = hex_encode({content, head.n_descsz});
              return 1;
            }
            note = content + (head.n_descsz + 3) / 4 * 4;
          }
        }
        return 1;  // the first object is the program itself
      },
      &id);
  return id;
}

std::string_view label_of(const runtime::Image& image) {
  return str(at(image.config, "config", "Labels"), kBuildLabel);
}

}  // namespace

std::string own_image_name() { return "brume.local/brume:" + std::string(kVersion); }

Task<Status> import_own_image(runtime::Images& images) {
  const std::string build = build_id();
  const auto present = images.find(own_image_name());
  if (present && !build.empty() && label_of(*present) == build) co_return Status();
  const Json config{{"os", "linux"},
                    {"config", {{"Entrypoint", {"/brume"}}, {"WorkingDir", "/"}, {"Labels", {{kBuildLabel, build}}}}}};
  auto imported = co_await images.import_files(own_image_name(), {{"brume", "/proc/self/exe"}}, config);
  if (!imported) co_return fail(wrap(imported.error(), "making the built-in image"));
  for (const auto& image : images.list()) {
    if (label_of(*image).empty() || image->id == imported->id) continue;
    auto removed = co_await images.remove(image->id);
    if (!removed) log::debug("an older built-in image stays", {{"reason", removed.error().message}});
  }
  co_return Status();
}

}  // namespace brume::cmd
