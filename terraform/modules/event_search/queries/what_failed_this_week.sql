-- Which jobs failed or timed out in the last 7 days: how often, of how many executions, and what the last one was.
WITH ended AS (
  SELECT DISTINCT
    service_name,
    job_name,
    execution_id,
    event,
    scheduled_time,
    coalesce(error, '') AS error,
    coalesce(summary, '') AS summary
  FROM ${table}
  WHERE day >= CAST(current_date - INTERVAL '7' DAY AS VARCHAR)
    AND event IN ('execution.succeeded', 'execution.failed', 'execution.timed_out')
)
SELECT
  service_name,
  job_name,
  count_if(event = 'execution.failed') AS failed,
  count_if(event = 'execution.timed_out') AS timed_out,
  count(*) AS executions,
  max_by(execution_id, scheduled_time) FILTER (WHERE event <> 'execution.succeeded') AS last_failed_execution_id,
  max_by(error, scheduled_time) FILTER (WHERE event <> 'execution.succeeded') AS its_error,
  max_by(summary, scheduled_time) FILTER (WHERE event <> 'execution.succeeded') AS its_summary,
  max_by(event, scheduled_time) = 'execution.succeeded' AS has_recovered
FROM ended
GROUP BY service_name, job_name
HAVING count_if(event <> 'execution.succeeded') > 0
ORDER BY count_if(event <> 'execution.succeeded') DESC, service_name, job_name
LIMIT 500
