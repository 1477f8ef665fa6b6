"""Structured logs: one JSON line for each fact. Never log tokens, payloads or state."""

from aws_lambda_powertools import Logger

logger = Logger()
