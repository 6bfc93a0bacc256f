#!/bin/sh
# Sends one request and prints the reply: sh producer.sh QUEUE TEXT [SECONDS]
set -eu
queue=$1 text=$2 seconds=${3:-5}
url=${AMQP_URL:-amqp://localhost}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkfifo "$folder/told"

# An exclusive queue for the reply; the broker names it, and deletes it when amqp-consume ends.
timeout "$seconds" amqp-consume --url="$url" --exclusive --no-ack --count=1 cat \
  >"$folder/reply" 2>"$folder/told" &
exec 3<"$folder/told"
read -r told <&3 || told=
case $told in
  "Server provided queue name: "*) ;;
  *) echo "the broker can't be used: $told" >&2; exit 1 ;;
esac

amqp-publish --url="$url" --routing-key="$queue" --reply-to="${told##* }" --body="$text"
wait $! || { echo "no reply from $queue within $seconds s; is there such a queue?" >&2; exit 1; }
cat "$folder/reply"
echo
