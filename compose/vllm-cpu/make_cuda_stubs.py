#!/usr/bin/env python3
"""Turn the CUDA build of torch, the only one that PyPI has for Linux x86-64, into one that runs on a CPU alone.

usage: make_cuda_stubs.py SITE_PACKAGES          needs gcc and readelf

`import torch` loads libtorch_cuda.so (450 MB) and through it several GB of NVIDIA libraries; CPU inference calls none of
them, but the dynamic loader insists on their names and symbols. So the GPU libraries are removed and each is replaced
by a stub that defines just the symbols that the remaining libraries take from it. A stub function that is called all
the same says its name and aborts: loud, never a wrong result. The CUDA runtime library itself is real (2 MB): without
a driver it reports "no device", which is how torch.cuda.is_available() comes to be False.
"""

import os
import re
import subprocess
import sys
import tempfile

KEPT = ["libtorch_python.so", "libtorch_cpu.so", "libtorch.so", "libc10.so", "libc10_cuda.so", "libshm.so"]
REMOVED = ["libtorch_cuda.so", "libtorch_cuda_linalg.so", "libtorch_nvshmem.so", "libcaffe2_nvrtc.so"]
# NVIDIA's libraries, which are not installed, by the prefix of their functions.
FOREIGN = {
    "cudnn": "libcudnn.so.9",
    "cuFile": "libcufile.so.0",
    "nccl": "libnccl.so.2",
    "cupti": "libcupti.so.13",
}

PRELUDE = r"""
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(const char *symbol) {
    fprintf(stderr, "%s: called, but this torch has no GPU code\n", symbol);
    abort();
}

/* The start of every std::type_info; pybind11 uses the name as a key while torch is imported. */
struct type_info { void **vtable; const char *name; };
extern void *class_type_info_vtable[] __asm__("_ZTVN10__cxxabiv117__class_type_infoE") __attribute__((weak));
"""

# The three functions that `import torch` really calls.
CALLED_AT_IMPORT = {
    # bool is_nvshmem_available()
    "_ZN4c10d17nvshmem_extension20is_nvshmem_availableEv": "int %s(void) { return 0; }",
    # GilChecker &get_gil_checker(): the caller stores a function pointer there
    "_ZN4c10d15get_gil_checkerEv": "static void *gil_checker; void **%s(void) { return &gil_checker; }",
    # ProcessGroupNCCL::Options::Options(bool), for a default argument: all zero with its vtable is an empty one
    "_ZN4c10d16ProcessGroupNCCL7OptionsC1Eb": """
extern void *options_vtable[] __asm__("_ZTVN4c10d16ProcessGroupNCCL7OptionsE") __attribute__((weak));
void %s(void **self, int high_priority) {
    memset(self, 0, malloc_usable_size(self));
    *self = &options_vtable[2];
}""",
}


def dynamic_symbols(path: str):
    """Yields (name, version, is_defined, is_data, size) of every dynamic symbol."""
    listing = subprocess.run(["readelf", "--dyn-syms", "--wide", path], check=True, capture_output=True, text=True)
    for fields in map(str.split, listing.stdout.splitlines()):
        if len(fields) >= 8 and fields[0].rstrip(":").isdigit():
            name, _, version = fields[7].partition("@")
            yield name, version.lstrip("@"), fields[6] != "UND", fields[3] in ("OBJECT", "TLS"), int(fields[2], 0)


def wanted_stubs(lib: str) -> dict[str, dict[str, tuple[str, bool, int]]]:
    """For each library to write: its symbols, with (version, is_data, size)."""
    removed = {}
    for file in REMOVED:
        for name, _, defined, is_data, size in dynamic_symbols(os.path.join(lib, file)):
            if defined:
                removed[name] = (is_data, size)
    kept, missing = set(), {}
    for file in KEPT:
        for name, version, defined, _, _ in dynamic_symbols(os.path.join(lib, file)):
            if defined:
                kept.add(name)
            else:
                missing[name] = version
    stubs = {library: {} for library in ["libtorch_cuda.so", *FOREIGN.values()]}
    for name, version in missing.items():
        foreign = re.match("|".join(FOREIGN), name)
        if name in kept:
            continue
        if name in removed:
            stubs["libtorch_cuda.so"][name] = (version, *removed[name])
        elif foreign:
            stubs[FOREIGN[foreign[0]]][name] = (version, False, 0)
    return stubs


def c_definition(name: str, is_data: bool, size: int) -> str:
    if name in CALLED_AT_IMPORT:
        return CALLED_AT_IMPORT[name] % name
    if not is_data:
        return f'void {name}(void) {{ die("{name}"); }}'
    if name.startswith("_ZTI"):
        return f'struct type_info {name} = {{ &class_type_info_vtable[2], "{name[4:]}" }};'
    return f"char {name}[{size}] __attribute__((aligned(32)));"


def write_stub(path: str, symbols: dict[str, tuple[str, bool, int]]) -> None:
    soname = os.path.basename(path)
    versions = {version for version, _, _ in symbols.values() if version}
    with tempfile.TemporaryDirectory() as scratch:
        source = os.path.join(scratch, "stub.c")
        with open(source, "w") as f:
            f.write(PRELUDE)
            f.writelines(c_definition(name, *rest) + "\n" for name, (_, *rest) in sorted(symbols.items()))
        command = ["gcc", "-shared", "-fPIC", "-O1", "-w", "-o", path, source, f"-Wl,-soname,{soname}"]
        if versions:
            version_script = os.path.join(scratch, "versions")
            with open(version_script, "w") as f:
                f.writelines(f"{version} {{ global: *; }};\n" for version in versions)
            command.append(f"-Wl,--version-script={version_script}")
        subprocess.run(command, check=True)
    print(f"{soname}: {len(symbols)} symbols")


def main() -> None:
    lib = os.path.join(sys.argv[1], "torch", "lib")
    stubs = wanted_stubs(lib)
    for file in REMOVED:
        os.unlink(os.path.join(lib, file))
    for soname, symbols in stubs.items():
        write_stub(os.path.join(lib, soname), symbols)


if __name__ == "__main__":
    main()
