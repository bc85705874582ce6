#!/bin/bash
# Simulates nights and prints how often a winner is named, a true one is found: the table of docs/statistics.md.
# VGRID_NIGHTS sets the nights of each line (200).
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo test --locked --lib -- --ignored --exact --nocapture engine::nights_tests::table_of_nights
