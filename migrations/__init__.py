"""The database's schema, as alembic migrations."""
