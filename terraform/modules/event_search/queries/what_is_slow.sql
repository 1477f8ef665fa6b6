-- Which jobs took long in the last 7 days, in seconds: from when they were to start to the notification, and from there to the end.
WITH ended AS (
  SELECT DISTINCT
    service_name,
    job_name,
    execution_id,
    CAST(service_invoked_at_ms AS DOUBLE) / 1000
      - coalesce(to_unixtime(from_iso8601_timestamp(starts_at)), CAST(scheduled_time_ms AS DOUBLE) / 1000) AS late_seconds,
    CAST(finished_at_ms - service_invoked_at_ms AS DOUBLE) / 1000 AS work_seconds
  FROM ${table}
  WHERE day >= CAST(current_date - INTERVAL '7' DAY AS VARCHAR)
    AND event IN ('execution.succeeded', 'execution.failed', 'execution.timed_out')
    AND service_invoked_at_ms IS NOT NULL
)
SELECT
  service_name,
  job_name,
  count(*) AS executions,
  round(approx_percentile(work_seconds, 0.5), 1) AS work_p50,
  round(approx_percentile(work_seconds, 0.95), 1) AS work_p95,
  round(max(work_seconds), 1) AS work_longest,
  max_by(execution_id, work_seconds) AS longest_execution_id,
  round(approx_percentile(late_seconds, 0.95), 1) AS late_p95
FROM ended
GROUP BY service_name, job_name
ORDER BY work_p95 DESC, service_name, job_name
LIMIT 100
