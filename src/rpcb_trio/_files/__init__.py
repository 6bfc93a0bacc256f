"""Files under one root: a directory, an S3 bucket, or whatever else fsspec knows."""

from rpcb_trio._files._files import NAME, Files, Found

__all__ = ["NAME", "Files", "Found"]
