"""The settings of functions that run in the tests' own process, except those that name a stage."""

SETTINGS = {
    "POWERTOOLS_METRICS_NAMESPACE": "ServerlessJobManager",
    "METRICS_BY_JOB": "false",
    "JOBS_TABLE": "jobs",
    "EXECUTIONS_TABLE": "executions",
    "SCHEDULES_TABLE": "schedules",
    "SERVICES_TABLE": "services",
    "RETENTION_DAYS": "90",
    "SCHEDULE_LIMIT": "300",
    "REAP_GRACE_SECONDS": "60",
    "MISSED_TICK_GRACE_SECONDS": "300",
    "INDEX_SHARDS": "4",
    "INDEX_SHARDS_TO_READ": "4",
    "DEFAULT_WORKFLOW_TYPE": "standard",
    "CALLBACK_BASE_URL": "https://manager.example/callback",
    "ALLOW_PRIVATE_TARGETS": "false",
    "ALLOW_LOOPBACK_TARGETS": "true",
    "ALLOW_HTTP_TARGETS": "true",
}
