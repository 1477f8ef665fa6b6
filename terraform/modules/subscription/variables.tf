variable "name" {
  description = "Name of the subscription; what the module makes is named after it, such as the queue of what could not be delivered."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,60}$", var.name))
    error_message = "The name must be 1 to 60 letters, digits, dashes and underscores."
  }
}

variable "topic_arn" {
  description = "The topic to subscribe to, such as a stage's notifications_topic_arn or events_topic_arn."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}$", var.topic_arn))
    error_message = "The topic_arn must be the ARN of a standard SNS topic."
  }
}

variable "queue" {
  description = "The queue that is told: the aws_sqs_queue itself, or its arn and, as id, its URL. One of queue, function, url and mail_address."
  type = object({
    arn = string
    id  = string
  })
  default = null

  validation {
    condition     = var.queue == null || can(regex("^arn:[a-z-]+:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,80}$", var.queue.arn))
    error_message = "The queue must be a standard SQS queue."
  }

  validation {
    condition     = length([for endpoint in [var.queue, var.function, var.url, var.mail_address] : 1 if endpoint != null]) == 1
    error_message = "The subscription must have one endpoint: set one of queue, function, url and mail_address."
  }
}

variable "function" {
  description = "The function that is told: the aws_lambda_function itself, or its arn."
  type = object({
    arn = string
  })
  default = null

  validation {
    condition     = var.function == null || can(regex("^arn:[a-z-]+:lambda:[a-z0-9-]+:[0-9]{12}:function:[A-Za-z0-9_-]{1,64}$", var.function.arn))
    error_message = "The function must be a Lambda function, without a version or alias."
  }
}

variable "url" {
  description = "The https URL that is told."
  type        = string
  default     = null

  validation {
    condition     = var.url == null || can(regex("^https?://[^/ ]+(/[^ ]*)?$", var.url))
    error_message = "The url must be an https URL, such as https://billing.example/events."
  }

  validation {
    condition     = var.url == null || var.allow_http_url || !can(regex("^http:", var.url))
    error_message = "The url must be an https URL: over http, anybody on the way reads along. Only for tests there is allow_http_url."
  }
}

variable "mail_address" {
  description = "The mail address that is told."
  type        = string
  default     = null

  validation {
    condition     = var.mail_address == null || can(regex("^[^@ :/,]+@[^@ :/,]+\\.[^@ :/,]+$", var.mail_address))
    error_message = "The mail_address must be one mail address, such as ops@example.com."
  }
}

variable "filter" {
  description = "Which messages are told: for an attribute (service_name and job_name, with events also event) the values to let pass, where a * at the end stands for any characters. A message must pass for each attribute. Left out, all are told."
  type        = map(list(string))
  default     = {}
  nullable    = false

  validation {
    condition     = length(var.filter) <= 5
    error_message = "The filter must name at most 5 attributes, as SNS has it."
  }

  validation {
    condition     = alltrue([for values in values(var.filter) : length(values) > 0 && !contains(values, "")])
    error_message = "The filter must give each attribute at least one value, and none that is empty: nothing would ever pass."
  }

  validation {
    condition     = alltrue([for value in flatten(values(var.filter)) : !can(regex("\\*.", value))])
    error_message = "The filter must have a * at the end of a value only."
  }

  validation {
    # https://docs.aws.amazon.com/sns/latest/dg/subscription-filter-policy-constraints.html
    condition = length(var.filter) > 5 || 150 >= (
      try(length(values(var.filter)[0]), 1) *
      try(length(values(var.filter)[1]), 1) *
      try(length(values(var.filter)[2]), 1) *
      try(length(values(var.filter)[3]), 1) *
      try(length(values(var.filter)[4]), 1)
    )
    error_message = "The filter must have at most 150 combinations of values, the product of how many each attribute has, as SNS counts them."
  }
}

variable "raw_message_delivery" {
  description = "Whether the message comes as it was published, without the JSON that SNS wraps it in. Null for yes with a queue and a URL; functions and mail always get the wrapping."
  type        = bool
  default     = null

  validation {
    condition     = var.raw_message_delivery != true || var.queue != null || var.url != null
    error_message = "The raw_message_delivery must not be true for a function or a mail address: SNS always wraps what it tells them."
  }
}

variable "endpoint_auto_confirms" {
  description = "Whether the url confirms its subscription by itself, so that Terraform waits for that. Otherwise it is pending until somebody opens the link that SNS sends there."
  type        = bool
  default     = false
}

variable "allow_http_url" {
  description = "Whether the url may be an http URL. Only for tests."
  type        = bool
  default     = false
}

variable "manage_queue_policy" {
  description = "Whether the module sets the policy of the queue that is subscribed. A queue has one policy only: set false for a queue that has one already, or two subscriptions, and put the output queue_policy_json into that."
  type        = bool
  default     = true
}

variable "dead_letter_queue_arn" {
  description = "The queue for what SNS could not deliver, which lets the topic send. Null to have one made."
  type        = string
  default     = null

  validation {
    condition     = var.dead_letter_queue_arn == null || can(regex("^arn:[a-z-]+:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,80}$", var.dead_letter_queue_arn))
    error_message = "The dead_letter_queue_arn must be the ARN of a standard queue, or null."
  }
}

variable "dead_letter_queue_name" {
  description = "Name of the queue that is made for what SNS could not deliver. Null for the subscription's name and -dead-letters."
  type        = string
  default     = null

  validation {
    condition     = var.dead_letter_queue_name == null || can(regex("^[A-Za-z0-9_-]{1,80}$", var.dead_letter_queue_name))
    error_message = "The dead_letter_queue_name must be 1 to 80 letters, digits, dashes and underscores, or null."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts the queue that is made; its policy must let sns.amazonaws.com use it (kms:Decrypt, kms:GenerateDataKey*), as a stage's key does. Null for SQS's own encryption."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "The kms_key_arn must be the ARN of a KMS key, or null: SNS cannot use the key alias/aws/sqs."
  }
}

variable "alarms_topic_arn" {
  description = "The topic that is told when something could not be delivered. Null for no alarm."
  type        = string
  default     = null

  validation {
    condition     = var.alarms_topic_arn == null || can(regex("^arn:[a-z-]+:sns:", var.alarms_topic_arn))
    error_message = "The alarms_topic_arn must be the ARN of an SNS topic, or null."
  }
}

variable "alarm_description" {
  description = "What to do when something could not be delivered. Null for what holds in general."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_description == null || try(length(var.alarm_description) <= 1024, false)
    error_message = "The alarm_description must be at most 1024 characters, or null."
  }
}

variable "require_tls" {
  description = "Whether the queues refuse calls that are not encrypted in transit."
  type        = bool
  default     = true
}
