"""Terminal views: tables as docker prints them, `--format`, progress of pulls and of services.

Reading order: `tables`, `listing` (rows, `--format`, `--quiet`), `progress` (JSON progress), `converge` (services).
Imports `api.client` and `kit`; nothing here needs a terminal.
"""
