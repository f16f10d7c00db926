# shellcheck shell=bash
# What the scripts share: where the repository is, how they speak, how they install packages, which paths they agree on.
# Sourced after `set -euo pipefail`, never run by itself.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# UNREACHABLE is the exit status of scripts/audit where a database of vulnerabilities can't be reached.
# shellcheck disable=SC2034  # read by the scripts that source this file
readonly ROOT \
    AARCH64=aarch64-unknown-linux-gnu \
    CROSS_DIR=$ROOT/.cross \
    MIN_RUST=1.92 \
    UNREACHABLE=77

# What a build needs. libclang-dev brings bindgen's libclang with its own headers (no clang program is needed);
# libssl-dev and pkg-config are for the downloader inside tflitec's build script; cmake and nasm build libjpeg-turbo
# with its SIMD code. scripts/check-files holds scripts/cross/Dockerfile to both lists and to the environment below.
# shellcheck disable=SC2034
readonly BUILD_PACKAGES=(gcc libc6-dev make cmake nasm pkg-config libssl-dev libclang-dev) \
    AARCH64_PACKAGES=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross libstdc++6-arm64-cross qemu-user-static) \
    LINT_PACKAGES=(cpio python3 shellcheck systemd) \
    TEST_PACKAGES=(chromium chromium-driver ffmpeg man-db nginx prometheus python3) \
    BOARD_PACKAGES=(qemu-system-arm python3 kmod) \
    DEB_PACKAGES=(binutils dpkg-dev python3) \
    DEB_TEST_PACKAGES=(bsdextrautils groff-base lintian mandoc mmdebstrap systemd-container)

# What cargo needs to know about the C side of an aarch64 build, as NAME=VALUE lines.
aarch64_environment() {
    cat <<'ENVIRONMENT'
CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64-static
CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu=--sysroot=/usr/aarch64-linux-gnu -I/usr/aarch64-linux-gnu/include
QEMU_LD_PREFIX=/usr/aarch64-linux-gnu
ENVIRONMENT
}

# Progress lines go to stderr, so that what a script prints on stdout can be used by another program.
say() { printf '== %s\n' "$*" >&2; }
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# Prints the comment block at the top of the calling script: header and help are one text.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }

have() { command -v "$1" >/dev/null 2>&1; }

# at_least FOUND WANTED: compares dotted version numbers.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "'$*' needs root, and there is no sudo: run it as root, then this script again"
    fi
}

apt_has() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# apt_install PACKAGE…: installs those that are missing. Costs a few milliseconds when none is.
apt_install() {
    local missing=() package
    have dpkg-query || die "this is no Debian: install what corresponds to these packages yourself: $*"
    for package in "$@"; do
        apt_has "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing by apt: ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Prints a Python that has pip. A python3 of the user's own comes first, then Debian's, installed if need be.
python_with_pip() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -m pip --version >/dev/null 2>&1; then
            echo "$python"
            return
        fi
    done
    apt_install python3-pip >&2
    echo /usr/bin/python3
}

# instruction_counter FILE: makes a plug-in for QEMU's user mode that counts the instructions which a program runs, and prints
# them to stderr at its end. Debian packages no qemu-plugin.h, so what is used of that interface (version 1) is declared here.
instruction_counter() {
    local source=${1%.so}.c
    cat >"$source" <<'C'
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#define EXPORT __attribute__((visibility("default")))
struct qemu_plugin_tb;
enum { ADD_U64 = 0 };
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, void (*)(uint64_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
void qemu_plugin_register_atexit_cb(uint64_t, void (*)(uint64_t, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
EXPORT int qemu_plugin_version = 1;
static uint64_t count;
static void translated(uint64_t id, struct qemu_plugin_tb *tb) {
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &count, qemu_plugin_tb_n_insns(tb));
}
static void finished(uint64_t id, void *data) { fprintf(stderr, "%" PRIu64 "\n", count); }
EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
C
    gcc -O2 -shared -fPIC -o "$1" "$source"
}
