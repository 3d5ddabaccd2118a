"""The Engine API: its server, and its client.

Reading order: `versions` and `times` (small grammars), `body` (JSON in), `call` (one request, what a handler gets),
`routing` (patterns), `dispatch` (errors and headers, once), `stream` and `hijack` (what stays open), `server` (the
listeners), then `present*` (objects to JSON), `convert` (JSON to specs) and `routes.*`, one module per noun.
`client` is the counterpart that the command line uses; it imports nothing of the server.
Imports `node`, `manager.control`, `engine`, `network` (their public classes), `model`, `kit`.
"""
