# Optional modules for events, each with its own README.md: alerts for people, an archive, queries in SQL, and replays to
# a subscriber.
# Uncomment those that you want.

# module "event_archive" {
#   source = "../../modules/event_archive"
#
#   topic_arn         = module.stage.events_topic_arn
#   function_defaults = module.stage.function_defaults
#   alarms_topic_arn  = module.stage.alarms_topic_arn
# }

# module "event_search" {
#   source = "../../modules/event_search"
#
#   archive           = module.event_archive.archive
#   function_defaults = module.stage.function_defaults
#   alarms_topic_arn  = module.stage.alarms_topic_arn
# }

# module "event_replay" {
#   source = "../../modules/event_replay"
#
#   topic_arn         = module.stage.events_topic_arn
#   function_defaults = module.stage.function_defaults
#   alarms_topic_arn  = module.stage.alarms_topic_arn
# }

# module "on_call" {
#   source = "../../modules/alert_route"
#
#   name              = "on-call"
#   topic_arn         = module.stage.events_topic_arn
#   alarms_topic_arn  = module.stage.alarms_topic_arn
#   function_defaults = module.stage.function_defaults
#   alarms            = true
#   kind              = "slack"
#   parameter_name    = "/${module.stage.prefix}/alerts/on-call"
# }

# module "tell_the_team" {
#   source = "../../modules/subscription"
#
#   name         = "${module.stage.prefix}-tell-the-team"
#   topic_arn    = module.stage.events_topic_arn
#   mail_address = "team@example.com"
#   filter       = { event = ["job.failing", "job.recovered"] }
# }
