#!/usr/bin/env bash
# The whole test suite, with all its set-up: pure tests, the binary on the simulated engine, real containers, the real vLLM.
#
#   usage: bash tests/all.sh [arguments for cargo test]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tests/setup.sh

# What was set up must be used: a test that would skip for want of it fails instead.
export VGRID_REQUIRE_FAKETIME=1 VGRID_REQUIRE_DOCKER=1 VGRID_REQUIRE_VLLM=1 VGRID_REQUIRE_ORACLE=1 VGRID_REQUIRE_BROWSER=1
exec cargo test --locked "$@"
