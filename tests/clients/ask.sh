#!/bin/sh
# ask.sh HOST PORT FORMAT
nonce=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
answer=$(printf '%s|%s' "$nonce" "$3" | nc -u -w1 "$1" "$2")
text=${answer#"$nonce|"}
[ "$text" != "$answer" ] || { echo "no time: $answer" >&2; exit 1; }
printf '%s\n' "$text"
