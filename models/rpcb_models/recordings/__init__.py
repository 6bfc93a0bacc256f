"""Recordings of real people with what they say; see README.md beside them for their licences."""

from rpcb_models.recordings._list import Recording, recordings

__all__ = ["Recording", "recordings"]
