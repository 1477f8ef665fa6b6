"""The settings of functions that run in the tests' own process, except those that name a stage."""

SETTINGS = {
    "POWERTOOLS_METRICS_NAMESPACE": "ServerlessJobManager",
    "METRICS_BY_STAGE": "true",
    "METRICS_BY_SERVICE": "false",
    "METRICS_BY_JOB": "false",
    "METRICS_BY_FUNCTION": "false",
    "MEMORY_ALARM_PCT": "90",
    "JOBS_TABLE": "jobs",
    "EXECUTIONS_TABLE": "executions",
    "SCHEDULES_TABLE": "schedules",
    "SERVICES_TABLE": "services",
    "RETENTION_DAYS": "90",
    "SCHEDULE_LIMIT": "300",
    "REAP_GRACE_SECONDS": "60",
    "MISSED_TICK_GRACE_SECONDS": "300",
    "CALLBACK_BASE_URL": "https://manager.example/callback",
    "ALLOW_PRIVATE_TARGETS": "false",
    "ALLOW_LOOPBACK_TARGETS": "true",
    "ALLOW_HTTP_TARGETS": "true",
}
