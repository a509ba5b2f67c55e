"""One module per group of `hallmark` commands: they compose rooms, and decide nothing."""
