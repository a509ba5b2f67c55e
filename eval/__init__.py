"""Run a model offline, measure it, judge the measurements."""
