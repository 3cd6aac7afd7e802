#!/bin/sh
# Starts a worker of each language, lets a sender of each send, and stops the workers. The Go worker's log is on stderr.
set -e
cd "$(dirname "$0")"
dist=../dist/go-and-node
go build -buildvcs=false -o "$dist/go-program" .

"$dist/go-program" worker >&2 &
go_worker=$!
node "$dist/worker.js" &
node_worker=$!
trap 'kill "$go_worker" "$node_worker"; wait' EXIT

"$dist/go-program" send
node "$dist/sender.js"
