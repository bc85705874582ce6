#!/bin/bash
# Simulates nights and prints how often a winner is named, a true one is found: the table of docs/statistics.md.
# VGRID_NIGHTS sets the nights of each line (200); VGRID_NIGHTS_OF, "default", "starts: 2" or "off", prints the lines of that `repeats` alone.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo test --release --locked --lib -- --ignored --exact --nocapture engine::nights_tests::table_of_nights
