// Names by which the built-in provisioner of directories on a node's disk is known to API server, controllers and node.
#pragma once

#include <string_view>

namespace brume::api {

/// The provisioner of a StorageClass, what volumes say they were made by, and the finalizer by which the node keeps a
/// volume until its directory is gone.
inline constexpr std::string_view kLocalPath = "brume.dev/local-path";
/// Label of such volumes: the node whose disk it is. A node may list the volumes that have its own name there.
inline constexpr std::string_view kLocalPathNode = "brume.dev/node";
/// Annotation of a Node: the directory, absolute, under which it keeps them.
inline constexpr std::string_view kLocalPathDirectory = "brume.dev/local-path-directory";

}  // namespace brume::api
