"""The demo: a PostgreSQL of its own and what is shown on it. Neither the loader nor the listener imports it."""
