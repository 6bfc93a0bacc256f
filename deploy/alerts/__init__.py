"""Alert rules, and the Prometheus operator's form of them."""
