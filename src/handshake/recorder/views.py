"""The views that `handshake sql` answers from. Contract: `events.md`, Queries.

`events` is made by the store, from Parquet files and lines not yet in one; all others are folds over it.
"""

from __future__ import annotations

VIEWS = ("events", "jobs", "iterations", "validations", "escalations", "gates", "capability_checks", "micro_tasks")

VIEW_SQL = """
CREATE VIEW iterations AS SELECT
    wp_id, job_id, workflow_run_id, mt_id, iteration, timestamp,
    payload->>'$.step_id' AS step_id,
    payload->>'$.model.base' AS model_id,
    payload->>'$.model.lora' AS lora_id,
    CAST(payload->>'$.execution.escalation_level' AS INTEGER) AS escalation_level,
    CAST(payload->>'$.execution.tokens_prompt' AS BIGINT) AS tokens_prompt,
    CAST(payload->>'$.execution.tokens_completion' AS BIGINT) AS tokens_completion,
    CAST(payload->>'$.execution.cost' AS DOUBLE) AS cost,
    CAST(payload->>'$.execution.duration_ms' AS BIGINT) AS duration_ms,
    CAST(payload->>'$.outcome.claimed_complete' AS BOOLEAN) AS claimed_complete,
    CAST(payload->>'$.outcome.validation_passed' AS BOOLEAN) AS validation_passed,
    payload->>'$.outcome.status' AS status,
    payload->>'$.outcome.failure_category' AS failure_category,
    payload->>'$.outcome.error_summary' AS error_summary,
    coalesce(payload->>'$.decision.action', payload->>'$.decision') AS decision,
    payload->>'$.context_snapshot_id' AS context_snapshot_id
FROM events WHERE event_type = 'FR-EVT-MT-003';

CREATE VIEW validations AS SELECT
    wp_id, job_id, workflow_run_id, mt_id, iteration, timestamp,
    CAST(payload->>'$.passed' AS BOOLEAN) AS passed,
    CAST(payload->>'$.sample' AS INTEGER) AS sample,
    json_array_length(payload, '$.spec_results') AS commands,
    CAST(payload->'$.reasons' AS VARCHAR[]) AS reasons,
    CAST(payload->'$.op_ids' AS VARCHAR[]) AS op_ids,
    payload->>'$.evidence_artifact_ref' AS evidence_artifact_ref
FROM events WHERE event_type = 'FR-EVT-MT-012';

CREATE VIEW escalations AS SELECT
    wp_id, job_id, workflow_run_id, mt_id, iteration, timestamp,
    payload->>'$.from_model' AS from_model, payload->>'$.from_lora' AS from_lora,
    CAST(payload->>'$.from_level' AS INTEGER) AS from_level,
    payload->>'$.to_model' AS to_model, payload->>'$.to_lora' AS to_lora,
    CAST(payload->>'$.to_level' AS INTEGER) AS to_level,
    payload->>'$.reason' AS reason, payload->>'$.failure_category' AS failure_category,
    CAST(payload->>'$.iterations_at_previous_level' AS INTEGER) AS iterations_at_previous_level,
    payload->>'$.escalation_record_ref' AS escalation_record_ref
FROM events WHERE event_type = 'FR-EVT-MT-005';

CREATE VIEW gates AS
SELECT wp_id, job_id, workflow_run_id, mt_id, timestamp, 'governance' AS kind, payload->>'$.gate' AS gate,
    payload->>'$.outcome' AS outcome, array_to_string(CAST(payload->'$.error_codes' AS VARCHAR[]), ' ') AS reason
FROM events WHERE event_type = 'FR-EVT-GOV-GATES-001'
UNION ALL BY NAME
SELECT wp_id, job_id, workflow_run_id, mt_id, timestamp, 'tool' AS kind, payload->>'$.gate' AS gate,
    payload->>'$.outcome' AS outcome, payload->>'$.reason' AS reason
FROM events WHERE event_type = 'FR-EVT-MEX'
UNION ALL BY NAME
SELECT wp_id, job_id, workflow_run_id, mt_id, timestamp, 'hard' AS kind, payload->>'$.reason' AS gate,
    'stop' AS outcome, coalesce(payload->>'$.figures.why', payload->>'$.figures.last_error') AS reason
FROM events WHERE event_type = 'FR-EVT-MT-006';

CREATE VIEW capability_checks AS SELECT
    wp_id, job_id, workflow_run_id, mt_id, timestamp,
    payload->>'$.capability_id' AS capability_id, payload->>'$.actor_id' AS actor_id,
    payload->>'$.decision_outcome' AS decision_outcome, payload->>'$.stage' AS stage, payload->>'$.op_id' AS op_id
FROM events WHERE event_type = 'FR-EVT-CAP';

CREATE VIEW jobs AS
WITH told AS (
    SELECT job_id, wp_id, timestamp, event_type,
        CASE event_type WHEN 'FR-EVT-MT-001' THEN CAST(payload->>'$.total_mts' AS INTEGER) END AS total_mts,
        CASE event_type WHEN 'FR-EVT-MT-003' THEN payload->>['$.execution.tokens_prompt',
            '$.execution.tokens_completion', '$.execution.duration_ms'] END AS used,
        CASE event_type WHEN 'FR-EVT-MT-009' THEN payload->>'$.outcome' WHEN 'FR-EVT-MT-010' THEN 'failed'
            WHEN 'FR-EVT-MT-011' THEN 'cancelled' WHEN 'FR-EVT-GOV-WP-001' THEN
            CASE payload->>'$.state' WHEN 'finished' THEN payload->>'$.reason' END END AS outcome,
        event_type IN ('FR-EVT-MT-009', 'FR-EVT-MT-010', 'FR-EVT-MT-011')
            OR (event_type = 'FR-EVT-GOV-WP-001' AND payload->>'$.state' = 'finished') AS ends
    FROM events WHERE event_type IN ('FR-EVT-MT-001', 'FR-EVT-MT-003', 'FR-EVT-MT-005', 'FR-EVT-MT-006',
        'FR-EVT-MT-007', 'FR-EVT-MT-008', 'FR-EVT-MT-009', 'FR-EVT-MT-010', 'FR-EVT-MT-011', 'FR-EVT-WF-RECOVERY',
        'FR-EVT-GOV-WP-001')
), started AS (
    SELECT job_id,
        min(wp_id) FILTER (event_type = 'FR-EVT-MT-001') AS wp_id,
        min(timestamp) FILTER (event_type = 'FR-EVT-MT-001') AS started_at,
        max(total_mts) AS total_mts,
        count(*) FILTER (event_type = 'FR-EVT-MT-003') AS iterations,
        count(*) FILTER (event_type = 'FR-EVT-MT-005') AS escalations,
        count(*) FILTER (event_type = 'FR-EVT-MT-006') AS hard_gates,
        count(*) FILTER (event_type = 'FR-EVT-WF-RECOVERY') AS recoveries,
        max(timestamp) FILTER (event_type IN ('FR-EVT-MT-006', 'FR-EVT-MT-007')) AS stopped_at,
        max(timestamp) FILTER (event_type = 'FR-EVT-MT-008') AS resumed_at,
        sum(CAST(used[1] AS BIGINT))::BIGINT AS tokens_prompt,
        sum(CAST(used[2] AS BIGINT))::BIGINT AS tokens_completion,
        sum(CAST(used[3] AS BIGINT))::BIGINT AS step_ms,
        max(timestamp) FILTER (ends) AS ended_at,
        arg_max(outcome, (event_type = 'FR-EVT-GOV-WP-001', timestamp)) FILTER (ends) AS outcome
    FROM told GROUP BY job_id HAVING bool_or(event_type = 'FR-EVT-MT-001')
), waits AS (
    SELECT job_id, sum(waited)::BIGINT AS waiting_ms FROM (
        SELECT job_id, event_type, date_diff('millisecond', lag(timestamp) OVER (
            PARTITION BY job_id ORDER BY timestamp), timestamp) AS waited
        FROM events WHERE event_type IN ('FR-EVT-MT-006', 'FR-EVT-MT-007', 'FR-EVT-MT-008')
    ) WHERE event_type = 'FR-EVT-MT-008' GROUP BY job_id
)
SELECT started.job_id, started.wp_id, started_at, ended_at,
    coalesce(outcome, CASE WHEN stopped_at IS NOT NULL AND (resumed_at IS NULL OR resumed_at < stopped_at)
        THEN 'awaiting_user' ELSE 'running' END) AS status,
    total_mts, recoveries + 1 AS runs, iterations, escalations, hard_gates, recoveries,
    coalesce(tokens_prompt, 0) AS tokens_prompt, coalesce(tokens_completion, 0) AS tokens_completion,
    coalesce(step_ms, 0) AS step_ms,
    date_diff('millisecond', started_at, ended_at) - coalesce(waiting_ms, 0) AS latency_ms
FROM started LEFT JOIN waits USING (job_id);

CREATE VIEW micro_tasks AS
WITH named AS (
    SELECT job_id, min(wp_id) AS wp_id, any_value(payload) AS payload
    FROM events WHERE event_type = 'FR-EVT-MT-001' GROUP BY job_id
), defined AS (
    SELECT job_id, wp_id, mt->>'$.mt_id' AS mt_id, CAST(mt->'$.task_tags' AS VARCHAR[]) AS task_tags,
        CAST(mt->>'$.token_budget' AS INTEGER) AS token_budget, CAST(mt->>'$.files' AS INTEGER) AS files
    FROM (SELECT job_id, wp_id, unnest(CAST(payload->'$.micro_tasks' AS JSON[])) AS mt FROM named)
), tried AS (
    SELECT job_id, mt_id, count(*) AS iterations, max(escalation_level) AS highest_level
    FROM iterations GROUP BY job_id, mt_id
), ended AS (
    SELECT job_id, mt_id, bool_or(event_type = 'FR-EVT-MT-004') AS completed,
        bool_or(event_type = 'FR-EVT-MT-016') AS skipped, bool_or(event_type = 'FR-EVT-MT-005') AS escalated
    FROM events WHERE event_type IN ('FR-EVT-MT-004', 'FR-EVT-MT-005', 'FR-EVT-MT-016') GROUP BY job_id, mt_id
)
SELECT defined.*, coalesce(iterations, 0) AS iterations, highest_level, coalesce(completed, false) AS completed,
    coalesce(skipped, false) AS skipped, coalesce(escalated, false) AS escalated
FROM defined LEFT JOIN tried USING (job_id, mt_id) LEFT JOIN ended USING (job_id, mt_id);
"""
