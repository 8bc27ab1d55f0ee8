output "bucket" {
  description = "For s3.bucket, or DRIFTLINE_S3__BUCKET."
  value       = aws_s3_bucket.driftline.bucket
}

output "topic_arn" {
  description = "For notify.sns.topic_arn."
  value       = aws_sns_topic.alerts.arn
}

output "queue_url" {
  description = "Where machines read alerts."
  value       = aws_sqs_queue.alerts.url
}

output "task_role_arn" {
  description = "For taskRoleArn, or the service account's annotation."
  value       = aws_iam_role.task.arn
}

output "start_role_arn" {
  description = "For executionRoleArn."
  value       = aws_iam_role.start.arn
}
