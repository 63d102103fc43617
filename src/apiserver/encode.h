// Objects, lists, tables and watch events as bytes for clients.
#pragma once

#include <string>
#include <string_view>

#include "brume/api/object.h"
#include "brume/api/resources.h"
#include "brume/apiserver/registry.h"
#include "brume/base/result.h"
#include "brume/base/time.h"
#include "brume/http/message.h"
#include "negotiate.h"

namespace brume::apiserver {

/// How the objects of one answer are written.
struct Encoding {
  const api::Resource* resource = nullptr;
  Format format;
  std::string include_object = "Metadata";  ///< of table rows: None, Metadata, Object
  WallTime now;
};

/// One object in the asked shape.
[[nodiscard]] std::string encode_object(const Encoding& encoding, const api::Object& object);
/// The body of an answer to a list; objects that go out as they are stored are not copied (http::Response::more).
void encode_list(const Encoding& encoding, ListPage page, http::Response& answer);

/// Makes YAML of an answer in JSON, its content type too.
void write_as_yaml(http::Response& answer);

/// Watch frames: one JSON line an event.
class WatchEncoder {
 public:
  explicit WatchEncoder(Encoding encoding) : encoding_(std::move(encoding)) {}
  void append(std::string& out, const WatchEvent& event);
  void append_bookmark(std::string& out, std::int64_t revision, bool initial_events_end);
  static void append_error(std::string& out, const Error& error);

 private:
  Encoding encoding_;
  bool headers_sent_ = false;  // a table's columns go with its first event only
};

struct StatusDetails {
  std::string name, group, kind;
  std::string uid;
};
/// metav1.Status of a failure, and the reply to a delete.
[[nodiscard]] std::string status_failure(const Error& error, const StatusDetails& details);
[[nodiscard]] std::string status_success(const StatusDetails& details);

}  // namespace brume::apiserver
