variable "name" {
  description = "Name of the subscription. The resources of the module are named after it, such as the dead-letter queue."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,60}$", var.name))
    error_message = "The name must be 1 to 60 letters, digits, dashes and underscores."
  }
}

variable "topic_arn" {
  description = "ARN of the topic to subscribe to, such as a stage's output notifications_topic_arn or events_topic_arn."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}$", var.topic_arn))
    error_message = "The topic_arn must be the ARN of a standard SNS topic."
  }
}

variable "queue" {
  description = "Queue that receives the messages: the aws_sqs_queue itself, or an object of its arn and its URL as id. Set one of queue, function, url and mail_address."
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
  description = "Function that receives the messages: the aws_lambda_function itself, or an object of its arn."
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
  description = "HTTPS URL that receives the messages."
  type        = string
  default     = null

  validation {
    condition     = var.url == null || can(regex("^https?://[^/ ]+(/[^ ]*)?$", var.url))
    error_message = "The url must be an https URL, such as https://billing.example/events."
  }

  validation {
    condition     = var.url == null || var.allow_http_url || !can(regex("^http:", var.url))
    error_message = "The url must be an https URL, because anybody on the way can read http. For tests only, set allow_http_url."
  }
}

variable "mail_address" {
  description = "Mail address that receives the messages."
  type        = string
  default     = null

  validation {
    condition     = var.mail_address == null || can(regex("^[^@ :/,]+@[^@ :/,]+\\.[^@ :/,]+$", var.mail_address))
    error_message = "The mail_address must be one mail address, such as ops@example.com."
  }
}

variable "filter" {
  description = "Messages to deliver: for each attribute (service_name, job_name, and for events also event) the values that pass. A * at the end of a value stands for any characters. A message must pass for every attribute. Without a filter, all messages are delivered."
  type        = map(list(string))
  default     = {}
  nullable    = false

  validation {
    condition     = length(var.filter) <= 5
    error_message = "The filter must have at most 5 attributes, which is SNS's limit."
  }

  validation {
    condition     = alltrue([for values in values(var.filter) : length(values) > 0 && !contains(values, "")])
    error_message = "The filter must have at least one value for each attribute, and no empty value, because nothing would pass."
  }

  validation {
    condition     = alltrue([for value in flatten(values(var.filter)) : !can(regex("\\*.", value))])
    error_message = "The filter must have a * only at the end of a value."
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
    error_message = "The filter must have at most 150 combinations of values, which is SNS's limit: multiply the numbers of values of all attributes."
  }
}

variable "raw_message_delivery" {
  description = "Whether SNS delivers the message as it was published, without the JSON envelope. If null, queues and URLs get it without the envelope. Functions and mail always get the envelope."
  type        = bool
  default     = null

  validation {
    condition     = var.raw_message_delivery != true || var.queue != null || var.url != null
    error_message = "The raw_message_delivery must not be true for a function or a mail address, because SNS always sends them the JSON envelope."
  }
}

variable "endpoint_auto_confirms" {
  description = "Whether the url confirms its subscription itself, and Terraform waits for that. Otherwise the subscription is pending until somebody opens the link that SNS sends to the url."
  type        = bool
  default     = false
}

variable "allow_http_url" {
  description = "Whether the url may be an http URL. For tests only."
  type        = bool
  default     = false
}

variable "manage_queue_policy" {
  description = "Whether the module sets the policy of the subscribed queue. A queue has only one policy. If the queue already has one, or has two subscriptions, set false and add the output queue_policy_json to its policy."
  type        = bool
  default     = true
}

# An object, and no ARN: whether it is null must be known at plan, and an ARN of the same configuration is not.
variable "dead_letter_queue" {
  description = "Existing dead-letter queue whose policy lets the topic send: the aws_sqs_queue itself, or an object of its arn. If null, the module creates one."
  type = object({
    arn = string
  })
  default = null

  validation {
    condition     = var.dead_letter_queue == null || can(regex("^arn:[a-z-]+:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,80}$", var.dead_letter_queue.arn))
    error_message = "The dead_letter_queue must be a standard SQS queue, or null."
  }
}

variable "dead_letter_queue_name" {
  description = "Name of the dead-letter queue that the module creates. If null, it is the subscription's name and -dead-letters."
  type        = string
  default     = null

  validation {
    condition     = var.dead_letter_queue_name == null || can(regex("^[A-Za-z0-9_-]{1,80}$", var.dead_letter_queue_name))
    error_message = "The dead_letter_queue_name must be 1 to 80 letters, digits, dashes and underscores, or null."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts the dead-letter queue that the module creates. The key's policy must let sns.amazonaws.com use it (kms:Decrypt, kms:GenerateDataKey*), as a stage's key does. If null, SQS encrypts with its own key."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "The kms_key_arn must be the ARN of a KMS key, or null. SNS cannot use the key alias/aws/sqs."
  }
}

# An object for the same reason.
variable "alarms_topic" {
  description = "Topic that receives the alarm when SNS could not deliver a message: the aws_sns_topic itself, or an object of its arn. If null, there is no alarm."
  type = object({
    arn = string
  })
  default = null

  validation {
    condition     = var.alarms_topic == null || can(regex("^arn:[a-z-]+:sns:", var.alarms_topic.arn))
    error_message = "The alarms_topic must be an SNS topic, or null."
  }
}

variable "alarm_description" {
  description = "Description of the alarm: what to do when SNS could not deliver a message. If null, it is a general text."
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
