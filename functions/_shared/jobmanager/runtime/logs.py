"""Structured logs: one JSON line a fact. What is secret (tokens, payloads, state) never gets there."""

from aws_lambda_powertools import Logger

logger = Logger()
