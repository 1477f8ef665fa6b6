# What the API does for services: the secrets with which their webhooks are signed.

module "create_webhook_secret" {
  source = "./modules/function"

  name        = "create_webhook_secret"
  defaults    = local.function_defaults
  description = "Makes a secret to sign a service's webhooks with, and shows it once."
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

  # The encryption context is bound to the ciphertext, and checked against the policy as the request names it.
  # https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-encryption-context
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
  description = "Deletes a webhook secret: nothing more is signed with it."
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
