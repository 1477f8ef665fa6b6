"""Callbacks: their tokens, their bodies, and their effects."""
