#!/bin/sh
# Installs the PyPI wheel of onnxruntime, whose shared library the program loads at run time.
# Usage: fetch-onnxruntime.sh [FOLDER]      (default: the build folder's peers/onnxruntime)
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
exec "$here/fetch-wheel.sh" onnxruntime "onnxruntime==${ONNXRUNTIME_VERSION:-1.31.1}" \
    'libonnxruntime.so.*' ORT_DYLIB_PATH "$@"
