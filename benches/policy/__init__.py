"""Batching policies in virtual time, measured against exact lower bounds."""
