{# A view is replaced where it stands. dbt's own way, a new view that takes the old one's name, drops whatever people have built on
   the old one. An unchanged view is left alone: to replace it is to wait for all who read it, and to make wait who comes meanwhile.
   Where columns go or change, --full-refresh makes it anew, which PostgreSQL refuses as long as views of others stand on it. #}
{% materialization view, adapter='postgres' %}
  {%- set target = this.incorporate(type='view') -%}
  {%- set existing = load_cached_relation(this) -%}
  {%- set made = make_temp_relation(target) -%}

  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}

  {% call statement('made') %}
    select pg_advisory_xact_lock(hashtextextended('{{ this.identifier }}', 0)); -- two runs at once take turns
    create temporary view {{ made }} as (
      {{ sql }}
    )
  {% endcall %}
  {% set same = "select pg_get_viewdef('" ~ made ~ "'::regclass) = pg_get_viewdef(to_regclass('" ~ target.include(database=False) ~ "'))" %}
  {% set unchanged = existing.is_view and run_query(same).rows[0][0] %}
  {% do run_query("drop view " ~ made) %}

  {% if unchanged and not should_full_refresh() %}
    {% call noop_statement('main', 'unchanged') %} {{ sql }} {% endcall %}
  {% else %}
    {% call statement('main') %}
      set local lock_timeout = '10s';
      {% if existing is not none and should_full_refresh() %} drop {{ existing.type }} {{ existing }}; {% endif %}
      {{ get_replace_view_sql(target, sql) }}
    {% endcall %}
  {% endif %}

  {% do apply_grants(target, config.get('grants'), should_revoke=False) %}
  {% do persist_docs(target, model) %}

  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {% do adapter.commit() %}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}
