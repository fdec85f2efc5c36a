# What .ci/run and .ci/nightly share: stages that print their name and their time, what was not run, packages.
# Sourced from the repository's root, never run.

export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
export PROPTEST_FAILURE_PERSISTENCE=off
# The tests must see the CPU and the crate as they are.
unset SOFTMAX_MAX_ISA SOFTMAX_TUNING SOFTMAX_L1_BYTES SOFTMAX_L2_BYTES SOFTMAX_L3_BYTES

target_dir=${CARGO_TARGET_DIR:-target}
debian=(env RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc /usr/bin/cargo) # beside rustup's, never instead of it
haswell=Haswell,-pcid,-x2apic,-tsc-deadline,-hle,-rtm,-invpcid # without what qemu lacks
emulated_scale=211 # SOFTMAX_TEST_SCALE where the CPU is emulated: so many times less work; a prime
summary=()
current=

# stages NAME...: runs the functions stage_NAME that the caller was asked for, in this order.
stages() {
    local known=" $* " asked=("${arguments[@]}") name start
    if [ "${asked[*]}" = --list ]; then
        printf '%s\n' "$@"
        return
    fi
    [ ${#asked[@]} -gt 0 ] || asked=("$@")
    for name in "${asked[@]}"; do
        case $known in *" $name "*) ;; *) echo "no stage $name; these exist: $*" >&2; exit 2 ;; esac
    done
    trap 'report $?' EXIT
    for name in "${asked[@]}"; do
        current=$name start=$SECONDS
        printf '\n=== %s (at %d s)\n' "$name" "$start"
        "stage_$name"
        printf -- '--- %s: %d s\n' "$name" $((SECONDS - start))
        summary+=("$(printf '%6d s  %s' $((SECONDS - start)) "$name")")
    done
    for name; do
        case " ${asked[*]} " in *" $name "*) ;; *) not_run "$name: not asked for" ;; esac
    done
    current=
}

# not_run WHAT: something that this machine cannot do. It is printed here and again at the end.
not_run() {
    echo "NOT RUN: $1"
    summary+=("  NOT RUN  $1")
}

report() {
    printf '\n=== summary\n'
    printf '%s\n' "${summary[@]}"
    if [ "$1" = 0 ]; then
        echo "passed in $SECONDS s"
    else
        echo "FAILED in stage ${current:-?} after $SECONDS s"
    fi
}

# Debian packages, installed where they are missing.
packages() {
    local missing=() package
    for package; do
        dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "installing ${missing[*]}"
    apt_update
    as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

apt_updated=
apt_update() {
    [ -n "$apt_updated" ] || as_root apt-get update -qq
    apt_updated=yes
}

as_root() {
    local sudo=sudo
    [ "$(id -u)" != 0 ] || sudo=env
    $sudo DEBIAN_FRONTEND=noninteractive "$@"
}

# Of the very version of Debian's compiler. Unpacked, not installed: installing it pulls in the whole arm64 toolchain.
arm64_standard_library() {
    local version stamp=/usr/lib/rustlib/aarch64-unknown-linux-gnu/.deb-version folder
    version=$(dpkg-query -W -f='${Version}' rustc-web)
    if [ "$(cat $stamp 2>/dev/null)" != "$version" ]; then
        echo "unpacking the arm64 standard library $version"
        as_root dpkg --add-architecture arm64
        apt_updated=
        apt_update
        folder=$(mktemp -d)
        chmod 755 "$folder"
        (cd "$folder" && apt-get download -qq "libstd-rust-web-dev:arm64=$version")
        as_root dpkg -x "$folder"/libstd-rust-web-dev_*.deb /
        rm -r "$folder"
        echo -n "$version" | as_root tee $stamp >/dev/null
    fi
}

# The tools of rustup's toolchain that are no part of every installation.
rust_tools() {
    cargo fmt --version >/dev/null && cargo clippy --version >/dev/null || rustup component add rustfmt clippy
}

has_toolchain() {
    rustup toolchain list 2>/dev/null | grep -q "^$1"
}

# emulate_x86 CPU ISA [ARGUMENT...]: the test programs of stage `native`, with these arguments, and the main job, which must
# run on ISA. Which rows a thread takes does not depend on the CPU.
emulate_x86() {
    local emulator="qemu-x86_64-static -cpu $1" isa=$2
    shift 2
    cargo build --quiet --locked --workspace --all-features --profile test --example classify
    SOFTMAX_REQUIRE_ISA=$isa SOFTMAX_TEST_SCALE=$emulated_scale \
        CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$emulator \
        cargo test --locked --workspace --all-features --lib --test suite -- --skip parallel:: "$@"
    # shellcheck disable=SC2086 # two words and more
    main_job "$isa" $emulator "$target_dir/debug/examples/classify"
}

# emulate_debian ISA OPTION...: the same for another architecture, by Debian's compiler and the runner that is set; the
# caller runs the main job.
emulate_debian() {
    local isa=$1
    local -x CARGO_PROFILE_TEST_OVERFLOW_CHECKS=false # they lengthen the build by half; stage `native` has them
    shift
    "${debian[@]}" build "$@" --profile test --example classify
    SOFTMAX_REQUIRE_ISA=$isa SOFTMAX_TEST_SCALE=$emulated_scale "${debian[@]}" test "$@" --lib --test suite
}

# main_job ISA COMMAND...: the command prints the digits, on that ISA and with the known accuracy.
main_job() {
    local isa=$1 text
    shift
    text=$("$@")
    grep -o "softmax on $isa " <<<"$text" && grep -o "854 of 898 .*" <<<"$text" || {
        printf '%s\nthe example ran on another ISA than %s, or with another accuracy\n' "$text" "$isa" >&2
        return 1
    }
}
