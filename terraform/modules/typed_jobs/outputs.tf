output "jobs" {
  description = "The same jobs, with all fields."
  value       = var.jobs
}
