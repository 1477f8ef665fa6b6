-- Which jobs exist but were not started in the last 7 days: since when, and why, as far as the events show.
-- Any event in the archive makes a job known. Its schedule says whether it should have run by now.
-- This query reads the whole archive, because a job may have been created long ago.
WITH events_of_jobs AS (
  SELECT service_name, job_name, event, occurred_at, execution_id, reason, version, schedule, time_zone, enabled, paused,
    completed_at
  FROM ${table}
  WHERE job_name IS NOT NULL
),
changes AS (
  SELECT
    service_name,
    job_name,
    max_by(event, version) AS last_change,
    max_by(schedule, version) FILTER (WHERE schedule IS NOT NULL) AS schedule,
    max_by(coalesce(time_zone, 'UTC'), version) FILTER (WHERE schedule IS NOT NULL) AS time_zone,
    max_by(enabled, version) FILTER (WHERE schedule IS NOT NULL) AS enabled,
    max_by(coalesce(completed_at, ''), version) FILTER (WHERE schedule IS NOT NULL) AS completed_at,
    max_by(coalesce(paused, ''), version) FILTER (WHERE schedule IS NOT NULL) AS paused,
    min(occurred_at) AS known_since
  FROM events_of_jobs
  WHERE event IN ('job.created', 'job.updated', 'job.deleted', 'job.paused', 'job.resumed', 'job.completed')
  GROUP BY service_name, job_name
),
runs AS (
  SELECT
    service_name,
    job_name,
    min(occurred_at) AS first_event_at,
    max(CASE WHEN event = 'execution.started' THEN occurred_at END) AS last_started,
    count(DISTINCT CASE
      WHEN event = 'execution.skipped' AND occurred_at >= CAST(current_date - INTERVAL '7' DAY AS VARCHAR) THEN execution_id
    END) AS skipped,
    max_by(coalesce(json_extract_scalar(reason, '$.code'), ''), occurred_at) FILTER (WHERE event = 'execution.skipped') AS last_skipped_because
  FROM events_of_jobs
  WHERE event LIKE 'execution.%'
  GROUP BY service_name, job_name
),
missed AS (
  SELECT schedule, sum(ticks) AS missed_ticks
  FROM (
    SELECT schedule, last_missed, max("count") AS ticks
    FROM ${table}
    WHERE day >= CAST(current_date - INTERVAL '7' DAY AS VARCHAR) AND event = 'schedule.missed'
    GROUP BY schedule, last_missed
  ) AS once
  GROUP BY schedule
)
SELECT
  coalesce(changes.service_name, runs.service_name) AS service_name,
  coalesce(changes.job_name, runs.job_name) AS job_name,
  changes.schedule,
  least(coalesce(changes.known_since, runs.first_event_at), coalesce(runs.first_event_at, changes.known_since)) AS known_since,
  runs.last_started,
  CASE
    WHEN changes.paused <> '' THEN 'paused'
    WHEN changes.enabled = FALSE THEN 'not enabled'
    WHEN changes.completed_at <> '' THEN 'completed: its schedule never fires again'
    WHEN runs.skipped > 0 THEN concat('skipped: ', runs.last_skipped_because)
    WHEN missed.missed_ticks > 0 THEN 'ticks were missed'
    ELSE 'not due, or no tick came'
  END AS why,
  coalesce(runs.skipped, 0) AS skipped,
  coalesce(missed.missed_ticks, 0) AS missed_ticks
FROM changes
FULL OUTER JOIN runs ON changes.service_name = runs.service_name AND changes.job_name = runs.job_name
-- A schedule in UTC may be named without its time zone.
LEFT JOIN missed ON missed.schedule = concat(changes.schedule, ' ', changes.time_zone)
  OR (changes.time_zone = 'UTC' AND missed.schedule = changes.schedule)
WHERE coalesce(changes.last_change, 'none') <> 'job.deleted'
  AND coalesce(runs.last_started, '') < CAST(current_date - INTERVAL '7' DAY AS VARCHAR)
ORDER BY known_since, service_name, job_name
LIMIT 500
