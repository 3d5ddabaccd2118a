"""Kit: clock, ids, task groups, backoff, durations. No word of the domain; imports nothing of Shoal."""
