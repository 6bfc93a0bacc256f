"""The servers that `benches.echo` compares, each in its own process: `python -m benches.servers.NAME JOB`.

Each one consumes a queue, echoes every request with a confirmed reply, and acks it only then.
"""
