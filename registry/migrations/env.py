"""Alembic's environment: migrations run on the connection that ``registry.database`` opened.

A new migration is a file in ``versions/`` with the next number; ``registry.database.HEAD``
names the newest, and a test compares the migrated database with ``registry.tables``.
"""

from __future__ import annotations

from alembic import context

from registry.database import VERSION_TABLE
from registry.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
