#!/bin/sh
# Common part of the fetch scripts: unpacks one wheel, without its dependencies, and names the
# shared library in it. Arguments: peer, requirement, file pattern, variable, [folder].
set -eu
peer=$1 requirement=$2 pattern=$3 variable=$4
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=${5:-${CARGO_TARGET_DIR:-$root/target}/peers/$peer}
python=${PYTHON:-python3}
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$wheels" "$requirement"
# Beside another version, either might be loaded. A folder that was given may hold more than that.
[ $# -ge 5 ] || rm -rf "$folder"
mkdir -p "$folder"
for wheel in "$wheels"/*.whl; do
    "$python" -m zipfile -e "$wheel" "$folder"
done
library=$(find "$folder" -name "$pattern" | sort | tail -n 1)
if [ -z "$library" ]; then
    echo "no $pattern in $requirement" >&2
    exit 1
fi
echo "$variable=$library"
