"""The HTTP API: requests and answers, fields, searches, pages, preconditions, schemas."""
