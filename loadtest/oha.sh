#!/usr/bin/env bash
# What does a user see? Open loop: requests leave on schedule, whatever the answers do.
#   loadtest/oha.sh [URL] [RATE] [SECONDS] [CONNECTIONS]
# https://github.com/hatoo/oha (cargo install oha)
#
# Choose a RATE of half of what wrk.sh reports: at capacity every queue is full and the latency is the queue's.
# --latency-correction counts from when a request should have left. Without it, a stall of one second is one slow
# request instead of RATE slow ones (coordinated omission).
# Read the 50th and the 99th percentile, and whether "Requests/sec" is the rate asked for: if not, it could not hold it.
set -euo pipefail
url=${1:-http://127.0.0.1:8080/}
rate=${2:-2000}
seconds=${3:-30}
connections=${4:-64}

oha --no-tui --latency-correction -q "$rate" -z "${seconds}s" -c "$connections" "$url"
