#!/usr/bin/env bash
# What does a stampede do to the origin? Many clients ask at once for one thing that is not stored yet.
#   loadtest/hey.sh [URL] [CLIENTS]
# https://github.com/rakyll/hey (go install github.com/rakyll/hey@latest)
#
# The query makes the key new each time. With collapsing, the origin sees one request: compare
# forebay_upstream_requests_total before and after, which this prints if the admin address answers.
# Read the histogram: everyone waits for the one fill, so all answers come at about the origin's own latency.
set -euo pipefail
url=${1:-http://127.0.0.1:8080/}
clients=${2:-200}
admin=${ADMIN:-http://127.0.0.1:9901}

asked() {
  curl -fsS "$admin/metrics" 2>/dev/null | awk '/^forebay_upstream_requests_total/ { sum += $NF } END { print sum + 0 }'
}

before=$(asked || echo 0)
hey -n "$clients" -c "$clients" "$url?stampede=$$-$(date +%s)"
after=$(asked || echo 0)
echo "requests the origin saw: $((after - before)) of $clients"
