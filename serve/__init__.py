"""Answer requests with hallmarked checkpoints."""
