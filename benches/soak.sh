#!/usr/bin/env bash
# The soak: sweeps of the simulated engine as a local process, killed at random moments, until the kills are as many as asked for.
# Proves for every sweep: no finished scenario is lost or repeated, no process is left, no restoration is open.
#
#   usage: bash benches/soak.sh [KILLS]     1000 kills took seven to twelve minutes on two cores
#
# VGRID_TEST_SEED=N chooses the first seed; a failure names its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export VGRID_SOAK_KILLS=${1:-1000}
exec cargo test --locked --test sweep_process -- --ignored --nocapture soak_of_random_kill_points
