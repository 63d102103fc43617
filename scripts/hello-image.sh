#!/usr/bin/env bash
# Builds the images of manifests/examples and imports them: scripts/hello-image.sh [--kubeconfig FILE]
#
# localhost/hello:1.0 and localhost/hello:1.1 are busybox-static from Debian, in an archive as `docker save` writes it.
. "$(dirname "$0")/lib/common.sh"
help_if_asked "$0" "${1:-}"
need_packages busybox-static python3
for tag in 1.0 1.1; do
  archive=$root/build/hello-$tag.tar
  [ -f "$archive" ] || python3 "$root/scripts/make-image.py" "localhost/hello:$tag" "$archive" --env "HELLO_VERSION=$tag"
  "$root/build/brume" image import "$archive" "$@"
done
