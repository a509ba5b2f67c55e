"""Prometheus series, experiment read-outs, dashboards and rules."""
