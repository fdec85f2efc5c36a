#!/bin/sh
# Installs the PyPI wheel of executorch, one of whose shared libraries is XNNPACK.
# Usage: fetch-xnnpack.sh [FOLDER]          (default: the build folder's peers/xnnpack)
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
exec "$here/fetch-wheel.sh" xnnpack "executorch==${EXECUTORCH_VERSION:-1.5.1}" \
    'libexecutorch_backend_xnnpack.so' XNNPACK_DYLIB_PATH "$@"
