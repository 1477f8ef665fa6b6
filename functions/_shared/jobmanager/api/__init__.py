"""The HTTP API: requests and responses, fields, searches, pages, preconditions, schemas."""
