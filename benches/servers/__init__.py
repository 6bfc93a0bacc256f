"""The servers that `benches.echo` compares, each in its own process: `python -m benches.servers.NAME JOB`."""
