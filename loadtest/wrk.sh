#!/usr/bin/env bash
# How much can it do? Closed loop: as many requests as 64 connections get answered.
#   loadtest/wrk.sh [URL] [SECONDS] [CONNECTIONS]
#
# Read "Requests/sec". The latencies are those of a machine with no time to spare; for what users see, take oha.sh.
# "Non-2xx or 3xx responses" should not appear: if it does, you are measuring errors.
# To spread the load over many keys: wrk -t2 -c64 -d30s --latency -s loadtest/zipf.lua URL
set -euo pipefail
url=${1:-http://127.0.0.1:8080/}
seconds=${2:-30}
connections=${3:-64}

# One thread of wrk drives about two threads of a gateway. Not more threads than connections.
threads=$(( connections < 2 ? 1 : 2 ))

echo "warm-up"
wrk -t"$threads" -c"$connections" -d3s "$url" >/dev/null
wrk -t"$threads" -c"$connections" -d"${seconds}s" --latency "$url"
