#!/usr/bin/env bash
# Installs libsoftmax under a temporary prefix and uses it from there, as others do: programs in C99 and C++17 through
# pkg-config, with the shared library and with the static one, Python by ctypes, and the examples of the README.
#
# PROFILE: Cargo's, by default `dev`, which checks arithmetic and pointers at run time and builds quickest.
# CC, CXX, PYTHON (which must have NumPy): by default those of the path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cc=${CC:-cc} cxx=${CXX:-c++} python=${PYTHON:-python3}
unset SOFTMAX_MAX_ISA
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix lib=$work/prefix/lib
make=(make --silent --no-print-directory "PROFILE=${PROFILE:-dev}" "CC=$cc")

fail() {
    echo "$*" >&2
    exit 1
}

"${make[@]}" install PREFIX="$prefix"
export PKG_CONFIG_PATH=$lib/pkgconfig LD_LIBRARY_PATH=$lib
version=$(pkg-config --modversion softmax)

# Files and names. The functions of the header, and nothing else, are exported, all under one version.
"${make[@]}" install-strip PREFIX=/usr LIBDIR=/usr/lib/multiarch DESTDIR="$work/stage"
grep -qx "libdir=/usr/lib/multiarch" "$work/stage/usr/lib/multiarch/pkgconfig/softmax.pc"
"${make[@]}" uninstall PREFIX=/usr LIBDIR=/usr/lib/multiarch DESTDIR="$work/stage"
[ -z "$(find "$work/stage" ! -type d)" ] || fail "uninstall leaves files"
readelf -d "$lib/libsoftmax.so" | grep -q 'SONAME.*\[libsoftmax\.so\.0\]' || fail "soname"
nm -D --defined-only "$lib/libsoftmax.so" | awk '{ print $3 }' >"$work/defined"
! grep -v '^smx_' "$work/defined" || fail "symbols that are not ours are exported"
"$cc" -E -P -x c "$prefix/include/softmax.h" | grep -o '\bsmx_[a-z0-9_]*(' | sed 's/($/@@smx_0/' | sort >"$work/declared"
diff "$work/declared" <(grep @ "$work/defined" | sort) || fail "the library does not export what the header declares"
echo "exported: $(wc -l <"$work/declared") functions"

# compile NAME static|shared COMPILER FLAG... SOURCE
compile() {
    local name=$1 kind=$2 libs
    shift 2
    if [ "$kind" = static ]; then
        libs=$(pkg-config --static --libs softmax)
        libs=${libs/-lsoftmax/-l:libsoftmax.a}
    else
        libs=$(pkg-config --libs softmax)
    fi
    # shellcheck disable=SC2046,SC2086 # flags are words
    "$@" -O1 -Wall -Wextra -Werror -pedantic "-DVERSION=\"$version\"" $(pkg-config --cflags softmax) \
        -o "$work/$name-$kind" $libs -pthread -lm
    if readelf -d "$work/$name-$kind" | grep -q 'NEEDED.*softmax'; then
        [ "$kind" = shared ] || fail "$name-$kind needs the shared library"
    else
        [ "$kind" = static ] || fail "$name-$kind does not need the shared library"
    fi
    echo "--- $name, $kind"
    "$work/$name-$kind"
}

# The block of a language in the section of the root's README.
readme() {
    awk -v fence="\`\`\`$1" '
        /^## / { section = $0 == "## Adopt it in your engine" }
        section && $0 == fence { block = 1; next }
        /^```$/ { block = 0 }
        block' ../../README.md >"$2"
    [ -s "$2" ] || fail "no example in $1"
}
readme c "$work/example.c"
readme cpp "$work/example.cpp"
readme python "$work/example.py"

for kind in shared static; do
    compile consumer-c $kind "$cc" -std=c99 tests/consumer.c
    compile consumer-cpp $kind "$cxx" -std=c++17 tests/consumer.cpp
    compile example-c $kind "$cc" -std=c99 "$work/example.c"
    compile example-cpp $kind "$cxx" -std=c++17 "$work/example.cpp"
done
SOFTMAX_MAX_ISA=portable "$work/consumer-cpp-shared" | grep -x "C++: portable"
echo "--- Python"
"$python" tests/consumer.py "$lib/libsoftmax.so.0"
"$python" "$work/example.py"
