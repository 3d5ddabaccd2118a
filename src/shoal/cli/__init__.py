"""The command line: docker's grammar, and docker-machine's under `machine`.

Reading order: `main` (which program, global options, errors), `tree` (every command: module and one line), `flags`
(options are declared as the lines that `--help` prints), `command` (what a command gets and may raise), `usage` (help),
then one module per noun and verb group: options -> what to ask -> client call -> print.
Imports `ui`, `stack`, `machine`, `api.client`, `model.errors` and `kit`; heavy ones only inside the command that needs
them, so that `node ls` is quick. Parsing is done here and not by a library: docker's flags (`-dit`, `-p80:80`,
`-d=false`) and its messages are its own, and nothing has to be imported for them.
"""
