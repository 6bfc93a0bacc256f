"""Known APIs: what routes with a preset speak, on those APIs' own paths."""
