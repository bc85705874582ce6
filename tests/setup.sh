#!/usr/bin/env bash
# Everything that the test suite needs beside Rust and a Docker engine. Does only what is missing: a second run takes a
# second.
#
#   usage: bash tests/setup.sh
#
# 1. Debian packages, when run as root.
# 2. target/oracle/docker-compose: the real Compose v2, which the differential test compares vgrid's reader with.
# 3. The image vllm-cpu:0.32.0: the real vLLM (compose/vllm-cpu/build.sh).
#
# The machine's apt configuration is left as it is.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
oracle=$root/target/oracle/docker-compose
readonly compose_version=2.26 # of Debian 13

die() {
    printf 'tests/setup.sh: %s\n' "$*" >&2
    exit 1
}

install_packages() {
    local missing=()
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    command -v sqlite3 >/dev/null || missing+=(sqlite3)
    command -v docker >/dev/null || missing+=(docker.io)
    compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || missing+=(libfaketime) # a clock that jumps
    command -v debootstrap >/dev/null || missing+=(debootstrap) # the images of steps 3 and 4
    command -v ip >/dev/null || missing+=(iproute2) # the network interface of a Docker daemon of the tests' own
    command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || missing+=(chromium-headless-shell)
    command -v pdftotext >/dev/null || missing+=(poppler-utils) # what a printed report says
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "these are missing: ${missing[*]} (Debian's names). Install them and run this again."
    [ "$(id -u)" = 0 ] || die "these are missing: run as root: apt-get install ${missing[*]}"
    echo "installing Debian packages: ${missing[*]}"
    apt-get update -qq || true # one source of many may be down; what is needed decides
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        die "apt-get could not install: ${missing[*]}"
}

# A container engine that was just installed or booted needs a moment. A machine whose service manager does not run (a
# container, a CI runner) starts none by itself, and its service script may be refused the limits that it asks for.
await_docker() {
    local started_s=$SECONDS asked=no log=/var/log/dockerd.log
    until docker version >/dev/null 2>&1; do
        if [ $asked = no ] && [ $((SECONDS - started_s)) -ge 5 ] && [ "$(id -u)" = 0 ] && [ -z "${DOCKER_HOST:-}" ] &&
            ! pgrep -x dockerd >/dev/null; then
            asked=yes
            echo "no Docker engine runs: starting one (its log: $log)"
            service docker start >>"$log" 2>&1 || setsid dockerd >>"$log" 2>&1 </dev/null &
        fi
        [ $((SECONDS - started_s)) -lt 90 ] || die "no Docker engine answers. Start it, or point DOCKER_HOST to it: $(docker version 2>&1 | tail -1)
$(tail -n 5 "$log" 2>/dev/null)"
        sleep 0.5
    done
}

# Where this machine gets Debian from, as its own configuration says.
debian_mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n 1
}

fetch_compose() {
    if "$oracle" version --short 2>/dev/null | grep -q "^$compose_version"; then return 0; fi
    echo "fetching Compose $compose_version from Debian 13"
    local way_out="put the program docker-compose $compose_version at $oracle by hand"
    command -v apt-get >/dev/null || die "there is no apt-get here: $way_out."
    local mirror
    mirror=$(debian_mirror)
    if [ -z "$mirror" ] && [ "$(id -u)" = 0 ]; then # a new machine, whose lists were never fetched
        apt-get update -qq || true
        mirror=$(debian_mirror)
    fi
    [ -n "$mirror" ] || die "apt-get knows no Debian mirror (is this Debian? was apt-get update ever run?): $way_out."

    # apt-get with lists, sources and cache of its own.
    local scratch=$root/target/oracle/apt
    rm -rf "$scratch"
    mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$scratch/sources.list"
    local options=(-qq -o Dir::Etc::SourceList="$scratch/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::State::Lists="$scratch/lists" -o Dir::Cache="$scratch/cache" -o APT::Sandbox::User="$(id -un)"
        -o Acquire::Languages=none)
    (cd "$scratch" && apt-get "${options[@]}" update && apt-get "${options[@]}" download docker-compose && dpkg -x docker-compose_*.deb unpacked) ||
        die "Debian's package docker-compose could not be fetched: $way_out."
    install -m 755 "$scratch/unpacked/usr/libexec/docker/cli-plugins/docker-compose" "$oracle"
    rm -rf "$scratch"
    "$oracle" version
}

install_packages
await_docker
fetch_compose
bash "$root/compose/vllm-cpu/build.sh"
