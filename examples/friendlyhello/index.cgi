#!/bin/sh
# One page: which container answered, and how often anybody asked. The counter lives in Redis, if there is one.
visits=$(printf 'INCR visits\r\nQUIT\r\n' | nc -w 1 redis 6379 2>/dev/null)
visits=${visits#:} # Redis says ":5" and OK for 5
visits=${visits%%[!0-9]*}
read -r name </etc/hostname
echo "Content-Type: text/html

<h3>${GREETING:-Hello World!}</h3><b>Hostname:</b> $name<br/><b>Visits:</b> ${visits:-<i>cannot connect to Redis, counter disabled</i>}"
