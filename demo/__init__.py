"""The swarm tutorial as a program: `make demo` shows it, the system tests run it with either command line."""
