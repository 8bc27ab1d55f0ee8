# Two roles: what the program may do, and what ECS needs to start it. Neither may do more.

data "aws_iam_policy_document" "tasks" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
  }
}

# --- the program -------------------------------------------------------------------------------

resource "aws_iam_role" "task" {
  name               = "driftline-task"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
}

data "aws_iam_policy_document" "task" {
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.driftline.arn]
  }

  # --delete needs s3:DeleteObject too; whoever may remove is somebody else.
  statement {
    sid = "Carry"
    actions = [
      "s3:GetObject",
      "s3:PutObject",
      "s3:AbortMultipartUpload",
      "s3:ListMultipartUploadParts",
    ]
    resources = [for folder in ["data", "registry", "runs"] : "${aws_s3_bucket.driftline.arn}/${folder}/*"]
  }

  statement {
    sid       = "Alert"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alerts.arn]
  }

  dynamic "statement" {
    for_each = var.efs_arn == "" ? [] : [var.efs_arn]

    content {
      sid       = "Mount"
      actions   = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
      resources = [statement.value]
    }
  }
}

resource "aws_iam_role_policy" "task" {
  name   = "driftline"
  role   = aws_iam_role.task.id
  policy = data.aws_iam_policy_document.task.json
}

# --- its start ---------------------------------------------------------------------------------

resource "aws_iam_role" "start" {
  name               = "driftline-start"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
}

resource "aws_cloudwatch_log_group" "live" {
  name              = var.log_group
  retention_in_days = 30
}

data "aws_iam_policy_document" "start" {
  statement {
    sid       = "Secret"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [var.secret_arn]
  }

  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.live.arn}:*"]
  }

  statement {
    sid       = "Image"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = [var.repository_arn]
  }

  # This one action knows no resources.
  statement {
    sid       = "Login"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "start" {
  name   = "driftline"
  role   = aws_iam_role.start.id
  policy = data.aws_iam_policy_document.start.json
}
