// Links in answers that came through a proxy: made to lead through the proxy again.
#pragma once

#include <string>
#include <string_view>

namespace brume::apiserver {

/// A proxy's path and the two names that the server behind it may call itself by. A value; the texts are the caller's.
struct ProxyLinks {
  std::string_view prefix;        ///< /api/v1/namespaces/x/pods/y/proxy
  std::string_view backend_host;  ///< host:port that was dialled
  std::string_view request_host;  ///< the client's Host header

  /// `link` with the prefix before its path, when it is an absolute path or names either host; else as it is: relative
  /// links work through a proxy, and other hosts are not behind it.
  [[nodiscard]] std::string rewrite(std::string_view link) const;
  /// All links in the tags of an HTML page. What is no tag (text, comments, scripts, styles) stays, byte by byte.
  [[nodiscard]] std::string rewrite_html(std::string_view page) const;
};

}  // namespace brume::apiserver
