#!/usr/bin/env bash
# Measures Pocket beside the programs that are installed (rclone, juicefs, geesefs, s3fs) on
# one S3 service behind a proxy that adds latency to each request; or, with --folder, on a
# store in a folder beside a plain directory of the same disk.
#
#   scripts/bench.sh                                  all, with 20 ms and with 0 ms added
#   scripts/bench.sh --latency 20ms                   about 15 minutes
#   scripts/bench.sh --peers pocket --latency 20ms    Pocket alone, in both modes
#   scripts/bench.sh --rows 512,stat --json           some rows, for a program
#   scripts/bench.sh --folder                         on a folder
#   scripts/bench.sh --help                           all flags
set -euo pipefail
cd "$(dirname "$0")/.."

./scripts/setup.sh >&2
go build -o bin/ ./cmd/pocket ./scripts/s3server ./scripts/bench
exec bin/bench -pocket bin/pocket -s3server bin/s3server "$@"
