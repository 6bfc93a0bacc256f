"""The Grafana dashboard: `python -m deploy.dashboards` writes `rpcb.json` anew."""
