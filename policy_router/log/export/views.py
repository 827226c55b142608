"""The types and the views of an export: the questions of an auditor, in the SQL of DuckDB."""

from __future__ import annotations

from typing import Final

SQL_TYPES: Final[dict[str, str]] = {
    "text": "VARCHAR",
    "texts": "VARCHAR[]",
    "int": "BIGINT",
    "float": "DOUBLE",
    "bool": "BOOLEAN",
    "time": "TIMESTAMPTZ",
    "bytes": "BLOB",
}
"""The types of columns."""
VIEWS: Final = {
    "ends": """\
SELECT e.*, row_number() OVER (PARTITION BY e.id ORDER BY e.time, e.writer, e.seq) AS nth
FROM events e WHERE e.status IS NOT NULL""",
    "costs": """\
SELECT id, count(*) AS runs, sum(input_tokens)::BIGINT AS input_tokens,
  sum(output_tokens)::BIGINT AS output_tokens, sum(cost_nano_usd)::BIGINT AS cost_nano_usd,
  arg_max(known, coalesce(list_position(['free', 'measured', 'upper_bound', 'not_said', 'no_price',
    'no_usage', 'failed', 'mismatch'], known), 9)) AS cost_status
FROM (SELECT *, coalesce(cost_status,
    CASE WHEN cost_nano_usd IS NULL THEN 'not_said' ELSE 'measured' END) AS known FROM ends)
GROUP BY id""",
    "cases": """\
SELECT d.id, d.time, date_trunc('month', d.time AT TIME ZONE 'UTC') AS month,
  d.root, d.parent, d.session, d.tags, d.caller_id, d.caller_team, d.kind, d.labels,
  d.outcome, d.level, d.rule, d.code,
  d.decided_entry, d.decided_model, d.decided_provider, d.plan, d.policy, d.revision,
  e.sent_entry, e.sent_model, e.sent_provider, e.served_model, e.status, e.error,
  c.input_tokens, c.output_tokens, c.cost_nano_usd,
  coalesce(c.cost_status,
    CASE WHEN d.outcome = 'refused' THEN 'free' ELSE 'never_ended' END) AS cost_status
FROM decisions d LEFT JOIN costs c ON c.id = d.id
  LEFT JOIN ends e ON e.id = d.id AND e.nth = c.runs
WHERE d.purpose IS DISTINCT FROM 'access'""",
    "spend": """\
SELECT month, caller_team, sent_entry, rule, count(*) AS decisions,
  sum(cost_nano_usd)::HUGEINT AS cost_nano_usd,
  count(*) FILTER (cost_status NOT IN ('free', 'measured', 'upper_bound')) AS unknown
FROM cases GROUP BY ALL""",
    "refusals": """\
SELECT month, caller_team, code, rule, count(*) AS decisions
FROM cases WHERE outcome = 'refused' GROUP BY ALL""",
    "unknown_costs": """\
SELECT month, cost_status, count(*) AS decisions FROM cases
WHERE cost_status NOT IN ('free', 'measured', 'upper_bound') GROUP BY ALL""",
    "outside_plan": """\
SELECT DISTINCT d.id, s.sent_model, s.sent_provider, d.plan, d.labels
FROM decisions d JOIN (
  SELECT id, sent_model, sent_provider FROM events WHERE sent_model IS NOT NULL
  UNION SELECT id, sent_model, sent_provider FROM calls WHERE is_sent) s ON s.id = d.id
WHERE NOT list_contains(d.plan, s.sent_model || ' at ' || coalesce(s.sent_provider, ''))""",
    "labelled_runs": """\
SELECT DISTINCT d.id, unnest(d.labels) AS label, s.sent_model, s.sent_provider
FROM decisions d JOIN (
  SELECT id, sent_model, sent_provider FROM events WHERE sent_model IS NOT NULL
  UNION SELECT id, sent_model, sent_provider FROM calls WHERE is_sent) s ON s.id = d.id""",
    "other_models": """\
SELECT id, sent_model, sent_provider, served_model FROM ends WHERE served_model <> sent_model""",
    "never_ended": """\
SELECT d.id, d.time, d.decided_model, d.decided_provider FROM decisions d
WHERE d.outcome = 'selected' AND d.purpose IS DISTINCT FROM 'access'
  AND NOT EXISTS (SELECT 1 FROM ends e WHERE e.id = d.id)""",
    "orphans": """\
SELECT DISTINCT e.id FROM events e
WHERE NOT EXISTS (SELECT 1 FROM decisions d WHERE d.id = e.id)""",
    "trees": """\
SELECT coalesce(root, id) AS root, count(*) AS decisions,
  sum(cost_nano_usd)::HUGEINT AS cost_nano_usd, min(time) AS first, max(time) AS last
FROM cases GROUP BY ALL""",
    "live_policies": """\
SELECT writer, policy, revision, min(time) AS first, max(time) AS last, count(*) AS decisions
FROM decisions GROUP BY ALL""",
}
"""The text of each view, by its name; a later one may use those before it."""


def script(sources: dict[str, str]) -> str:
    """Return the statements that make tables and views of files.

    Args:
        sources: what reads each table, by its name.
    """
    tables = [f"CREATE VIEW {name} AS SELECT * FROM {it};\n" for name, it in sources.items()]
    return "".join([*tables, *statements()])


def statements() -> list[str]:
    """Return the statements that make the views."""
    return [f"CREATE VIEW {name} AS\n{text};\n" for name, text in VIEWS.items()]
