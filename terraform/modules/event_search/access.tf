# Attach this policy to the roles or groups that query. Athena uses Glue, S3 and the key in its caller's name.
# https://docs.aws.amazon.com/athena/latest/ug/workgroups-iam-policy.html

data "aws_iam_policy_document" "search" {
  statement {
    sid = "AskInThisWorkgroup"
    actions = [
      "athena:BatchGetNamedQuery",
      "athena:BatchGetQueryExecution",
      "athena:GetNamedQuery",
      "athena:GetQueryExecution",
      "athena:GetQueryResults",
      "athena:GetWorkGroup",
      "athena:ListNamedQueries",
      "athena:ListQueryExecutions",
      "athena:StartQueryExecution",
      "athena:StopQueryExecution",
    ]
    resources = ["arn:${local.partition}:athena:${local.place}:workgroup/${local.name}"]
  }

  # The console calls these before it shows a workgroup, a database or a table.
  # https://docs.aws.amazon.com/athena/latest/ug/example-policies-workgroup.html
  statement {
    sid       = "FindTheWorkgroupInTheConsole"
    actions   = ["athena:ListDataCatalogs", "athena:ListEngineVersions", "athena:ListWorkGroups"]
    resources = ["*"]
  }

  statement {
    sid       = "FindTheTableInTheConsole"
    actions   = ["athena:GetDataCatalog", "athena:GetDatabase", "athena:GetTableMetadata", "athena:ListDatabases", "athena:ListTableMetadata"]
    resources = ["arn:${local.partition}:athena:${local.place}:datacatalog/AwsDataCatalog"]
  }

  statement {
    sid     = "ReadTheTable"
    actions = ["glue:GetDatabase", "glue:GetDatabases", "glue:GetPartitions", "glue:GetTable", "glue:GetTables"]
    resources = [
      "arn:${local.partition}:glue:${local.place}:catalog",
      "arn:${local.partition}:glue:${local.place}:database/default", # Athena looks for it with every query
      "arn:${local.partition}:glue:${local.place}:database/${local.database}",
      "arn:${local.partition}:glue:${local.place}:table/${local.database}/${local.table}",
    ]
  }

  statement {
    sid       = "ReadTheArchive"
    actions   = ["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"]
    resources = [local.archive_arn, "${local.archive_arn}/${var.archive.events_prefix}*"]
  }

  statement {
    sid = "KeepAnswers"
    actions = [
      "s3:AbortMultipartUpload",
      "s3:GetBucketLocation",
      "s3:GetObject",
      "s3:ListBucket",
      "s3:ListBucketMultipartUploads",
      "s3:ListMultipartUploadParts",
      "s3:PutObject",
    ]
    resources = [aws_s3_bucket.results.arn, "${aws_s3_bucket.results.arn}/*"]
  }

  statement {
    sid       = "DecryptEventsAndEncryptAnswers"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = [local.kms_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${local.region}.${local.dns_suffix}"]
    }
  }
}

resource "aws_iam_policy" "search" {
  name        = local.name
  description = "Lets whoever has it ask the archived events of ${var.function_defaults.prefix}"
  policy      = data.aws_iam_policy_document.search.json
}
