#!/usr/bin/env bash
# Builds the Docker image vgrid-test-machine:local: Debian with systemd as its first process and a Docker engine of its own, for the tests
# that cut a machine's power (tests/systemd.rs). From Debian's packages alone; two minutes on two busy cores, 0.5 GB.
#
#   usage: bash tests/machine/build.sh
#
# Returns at once when the image of these very inputs is there.
set -Eeuo pipefail

readonly image=vgrid-test-machine:local
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$here/../../target/machine

die() {
    printf 'tests/machine/build.sh: %s\n' "$*" >&2
    exit 1
}

# vgrid runs in it as it was built here: a Debian as new as this one, so that their C libraries agree.
suite=$(. /etc/os-release && if [ "$ID" = debian ]; then echo "${VERSION_CODENAME:-bookworm}"; else echo bookworm; fi)
inputs=$({ echo "$suite" && cat -- "$here"/*; } | sha256sum | cut -c1-16)
if [ "$(docker image inspect --format '{{index .Config.Labels "vgrid.inputs"}}' "$image" 2>/dev/null)" = "$inputs" ]; then
    echo "$image is up to date."
    exit 0
fi
[ "$(id -u)" = 0 ] || die "making a root filesystem needs root. Run it once with: sudo -E bash $here/build.sh"
command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"

# A debootstrap that was killed leaves /proc and /sys mounted in its folder, and they must not be deleted.
remove() {
    local mounted
    for mounted in "$work"/rootfs/{proc,sys}; do
        if mountpoint -q "$mounted"; then umount "$mounted"; fi
    done
    rm -rf --one-file-system "$work"
}

remove
mkdir -p "$work"
echo "building $image: Debian $suite with systemd and Docker"
debootstrap --variant=minbase --include=systemd,systemd-sysv,docker.io "$suite" "$work/rootfs" >"$work/log" 2>&1 ||
    die "debootstrap failed: see $work/log."
rm -rf "$work"/rootfs/var/cache/apt "$work"/rootfs/var/lib/apt/lists/* "$work"/rootfs/usr/share/{doc,info,locale,man}
install -m 755 "$here/init" "$work/rootfs/sbin/machine"
tar -C "$work/rootfs" --numeric-owner -c . | docker import --change 'ENV container=docker' --change 'CMD ["/sbin/machine"]' \
    --change "LABEL vgrid.inputs=$inputs" - "$image" >/dev/null
remove
