#!/bin/sh
# ask.sh HOST PORT FORMAT
tag=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
response=$(printf '%s|%s' "$tag" "$3" | nc -u -w1 "$1" "$2")
text=${response#"$tag|"}
[ "$text" != "$response" ] || { echo "no time: $response" >&2; exit 1; }
printf '%s\n' "$text"
