// Discovery documents: which groups, versions and resources there are. Made once; the tables are constant.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace brume::apiserver {

/// Immutable. Thread-safe.
class Discovery {
 public:
  explicit Discovery(std::string server_address);

  struct Document {
    std::string body;
    std::string etag;  ///< quoted; empty: none
    std::string content_type = "application/json";
  };
  /// The answer at /api, /apis, /api/v1, /apis/<group> or /apis/<group>/<version>; null for other paths. /api and /apis
  /// come aggregated when `accept` prefers that.
  [[nodiscard]] const Document* find(std::string_view path, std::string_view accept) const;

 private:
  void add_lists();
  void add_groups(const std::string& server_address);
  void add_aggregated();
  std::map<std::string, Document, std::less<>> documents_;
};

}  // namespace brume::apiserver
