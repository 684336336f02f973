"""Writes what Prometheus and Grafana read: the page of metrics, alert rules and a dashboard."""
