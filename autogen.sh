#!/bin/sh
# usage: ./autogen.sh [TARGET...]
# From a bare checkout to a build: installs what is missing (Debian and its kin), runs autoreconf and
# configure where they have not run yet, then make TARGET.
set -eu
cd "$(dirname "$0")"

build="gcc libc6-dev make autoconf automake libtool pkg-config ocl-icd-opencl-dev opencl-headers
    libclblast-dev libhwloc-dev libjansson-dev libutf8proc-dev check"
use="pocl-opencl-icd gnuplot-nox" # a device, and the demo's picture
tests="oclgrind"                  # its test skips without it

missing() {
    for package; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            printf ' %s' "$package"
    done
}

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" </dev/null >/dev/null
}

# shellcheck disable=SC2086 # lists of words
install_missing() {
    packages=$(missing $build $use $tests)
    [ -n "$packages" ] || return 0
    if [ "$(id -u)" -eq 0 ]; then
        as_root=
    elif sudo -n true 2>/dev/null; then
        as_root=sudo
    else
        echo "autogen.sh: packages are missing; this line installs them:" >&2
        echo "sudo apt-get install --no-install-recommends$packages" >&2
        [ -z "$(missing $build $use)" ] && return 0
        exit 1
    fi
    echo "autogen.sh: installing$packages"
    ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1 || apt update
    # Old lists name files that are gone: refresh them and try again.
    apt install --no-install-recommends $packages ||
        { apt update && apt install --no-install-recommends $packages; }
}

if command -v apt-get >/dev/null; then
    install_missing
fi
if [ ! -e configure ] || [ ! -e Makefile.in ]; then
    autoreconf -fi
fi
if [ ! -e config.status ] || [ ! -e Makefile ]; then
    ./configure
fi
exec make -j"$(nproc)" "$@"
