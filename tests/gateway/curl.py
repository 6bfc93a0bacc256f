"""What the ancestor's users send: its curl lines, to the byte."""

from __future__ import annotations

BOUNDARY = "------------------------ebf449c6590681ad"

TYPE = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def curl(*, filename: str, audio: bytes, **fields: str) -> bytes:
    """The body that curl sends for `-F audio=@FILENAME -F NAME=VALUE ...`."""
    parts = [
        f'name="audio"; filename="{filename}"\r\nContent-Type: application/octet-stream\r\n\r\n'.encode()
        + audio,
        *(f'name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()),
    ]
    start = f"--{BOUNDARY}\r\nContent-Disposition: form-data; ".encode()
    return b"".join(start + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()
