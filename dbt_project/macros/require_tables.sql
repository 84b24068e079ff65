{% macro require_tables() %}
  {%- if execute and not adapter.get_relation(target.database, 'public', 'segment_memberships') -%}
    {{ exceptions.raise_compiler_error(
      "The database " ~ target.database ~ " has no segment tables, so there is nothing to build on: run \"alembic upgrade head\" with "
      ~ "the same PG* first, or set PGDATABASE to the database that has them."
    ) }}
  {%- endif -%}
{% endmacro %}
