"""Loads segment events from NDJSON into PostgreSQL by COPY."""
