#!/bin/sh
# Installs the Debian packages that a build, the tests or the demo need; what is there already is left alone.
#
#   deploy/packages.sh build        compile the product
#   deploy/packages.sh test         compile it and run every test
#   deploy/packages.sh demo         compile it and run the demo with real hosts
set -eu

build_packages="ca-certificates clang g++ libclang-dev libvirt-dev make pkg-config"
host_packages="busybox-static cpio ipmitool iproute2 iputils-ping kmod libvirt-clients libvirt-daemon-system nftables openipmi qemu-system-x86 util-linux"
test_packages="python3 python3-venv"
guest_kernel_package="linux-image-cloud-amd64"

usage() {
    echo "usage: $0 build|test|demo" >&2
    exit 2
}

missing_packages() {
    for package in "$@"; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || printf '%s ' "$package"
    done
}

install_packages() {
    missing=$(missing_packages "$@")
    if [ -z "$missing" ]; then
        return 0
    fi
    if [ "$(id -u)" -ne 0 ]; then
        echo "packages: these Debian packages are missing and only root can install them: $missing" >&2
        echo "packages: run 'apt-get install $missing' as root, then start this again" >&2
        exit 1
    fi
    echo "packages: installing $missing"
    apt_update_once
    # The list is split into words on purpose.
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
}

apt_updated=no
apt_update_once() {
    if [ "$apt_updated" = no ]; then
        apt-get update -q
        apt_updated=yes
    fi
}

# The guests of the demo and of the host tests boot this kernel; the machine itself keeps the one that it runs.
install_guest_kernel() {
    for kernel in /boot/vmlinuz-*-cloud-amd64; do
        if [ -r "$kernel" ]; then
            return 0
        fi
    done
    install_packages "$guest_kernel_package"
}

install_nextest() {
    if command -v cargo-nextest >/dev/null 2>&1; then
        return 0
    fi
    echo "packages: building cargo-nextest with cargo install"
    cargo install --locked cargo-nextest
}

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "packages: this is not a Debian system; install the equivalents of: $build_packages $host_packages" >&2
    exit 1
fi
# The lists are split into words on purpose.
# shellcheck disable=SC2086
case "${1:-}" in
build)
    install_packages $build_packages
    ;;
test)
    install_packages $build_packages $host_packages $test_packages
    install_guest_kernel
    install_nextest
    ;;
demo)
    install_packages $build_packages $host_packages
    install_guest_kernel
    ;;
*)
    usage
    ;;
esac
