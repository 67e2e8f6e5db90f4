#!/usr/bin/env bash
# Is HTTP/2 as good? The same number of requests under way, over few connections with many streams, then over many.
#   loadtest/h2load.sh [URL] [SECONDS]
# apt-get install nghttp2-client
#
# A clear-text URL is HTTP/2 by prior knowledge; an https one negotiates it (ALPN).
# Read "req/s" of the three runs and "status codes". HTTP/2 costs more a request than HTTP/1.1 (framing, header
# compression), and less a client: one connection instead of many. With one connection only one worker is at work.
set -euo pipefail
url=${1:-http://127.0.0.1:8080/}
seconds=${2:-15}

run() {
  echo
  echo "== $1"
  shift
  h2load --duration="$seconds" --warm-up-time=2 "$@" "$url" | grep -E '^(finished|requests|status codes|traffic|time for request|req/s)'
}

run "HTTP/2, 1 connection, 64 streams" --clients=1 --max-concurrent-streams=64
run "HTTP/2, 8 connections, 8 streams each" --clients=8 --max-concurrent-streams=8
run "HTTP/1.1, 64 connections" --h1 --clients=64
