#!/bin/sh
# One page: which container answered, and how often anybody asked. The counter lives in Redis, if there is one.
visits=$(printf 'INCR visits\r\nQUIT\r\n' | nc -w 1 redis 6379 2>/dev/null | tr -d ':\r' | sed -n 1p)
cat <<PAGE
Content-Type: text/html

<h3>${GREETING:-Hello World!}</h3><b>Hostname:</b> $(hostname)<br/><b>Visits:</b> ${visits:-<i>cannot connect to Redis, counter disabled</i>}
PAGE
