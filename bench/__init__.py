"""Speed and memory, side by side with dockerd in one run: `make bench`."""
