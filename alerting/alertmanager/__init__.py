"""The Alertmanager's HTTP API (version 2), so that Prometheus, amtool and dashboards work with us."""
