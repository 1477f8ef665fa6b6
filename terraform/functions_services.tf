# The functions behind the API's routes for services: the secrets that sign their webhooks.

module "create_webhook_secret" {
  source = "./modules/function"

  name        = "create_webhook_secret"
  defaults    = local.function_defaults
  description = "Creates a secret that signs a service's webhooks, and returns it once."
  policy      = data.aws_iam_policy_document.create_webhook_secret.json

  environment = {
    SERVICES_TABLE  = aws_dynamodb_table.services.name
    SECRETS_KEY_ARN = aws_kms_key.stage.arn
  }
}

data "aws_iam_policy_document" "create_webhook_secret" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_webhook_secrets.json,
    data.aws_iam_policy_document.update_webhook_secrets.json,
  ]

  statement {
    sid       = "EncryptWebhookSecrets"
    actions   = ["kms:Encrypt"]
    resources = [aws_kms_key.stage.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:purpose"
      values   = ["webhook-secret"]
    }
  }
}

module "list_webhook_secrets" {
  source = "./modules/function"

  name        = "list_webhook_secrets"
  defaults    = local.function_defaults
  description = "Lists a service's webhook secrets, without the secrets themselves."
  policy      = data.aws_iam_policy_document.list_webhook_secrets.json

  environment = {
    SERVICES_TABLE = aws_dynamodb_table.services.name
  }
}

data "aws_iam_policy_document" "list_webhook_secrets" {
  source_policy_documents = [data.aws_iam_policy_document.read_webhook_secrets.json]
}

module "delete_webhook_secret" {
  source = "./modules/function"

  name        = "delete_webhook_secret"
  defaults    = local.function_defaults
  description = "Deletes a webhook secret. It signs no further webhooks."
  policy      = data.aws_iam_policy_document.delete_webhook_secret.json

  environment = {
    SERVICES_TABLE = aws_dynamodb_table.services.name
  }
}

data "aws_iam_policy_document" "delete_webhook_secret" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_webhook_secrets.json,
    data.aws_iam_policy_document.update_webhook_secrets.json,
  ]
}
