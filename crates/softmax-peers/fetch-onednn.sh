#!/bin/sh
# Installs the PyPI wheel of oneDNN 3 for OpenMP. Debian's libdnnl2 (oneDNN 2) serves as well.
# Usage: fetch-onednn.sh [FOLDER]           (default: the build folder's peers/onednn)
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
exec "$here/fetch-wheel.sh" onednn "onednn-cpu-gomp==${ONEDNN_VERSION:-2023.2.0}" \
    'libdnnl.so.*' DNNL_DYLIB_PATH "$@"
