# The bucket of `driftline sync`: private, encrypted, versioned; nothing is lost by a mistake within 90 days.

resource "aws_s3_bucket" "driftline" {
  bucket = var.bucket
}

resource "aws_s3_bucket_versioning" "driftline" {
  bucket = aws_s3_bucket.driftline.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "driftline" {
  bucket = aws_s3_bucket.driftline.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_public_access_block" "driftline" {
  bucket                  = aws_s3_bucket.driftline.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "driftline" {
  bucket = aws_s3_bucket.driftline.id

  rule {
    id     = "leftovers"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }

    noncurrent_version_expiration {
      noncurrent_days = 90
    }
  }
}

data "aws_iam_policy_document" "encrypted_only" {
  statement {
    sid       = "HttpsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.driftline.arn, "${aws_s3_bucket.driftline.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "driftline" {
  bucket = aws_s3_bucket.driftline.id
  policy = data.aws_iam_policy_document.encrypted_only.json
}
