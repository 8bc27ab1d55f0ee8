variable "region" {
  description = "AWS region of everything here."
  type        = string
  default     = "eu-central-1"
}

variable "bucket" {
  description = "Name of the bucket for data, registry and runs; it must be free in all of AWS."
  type        = string
}

variable "alert_email" {
  description = "Who is told of alerts by mail; empty: nobody."
  type        = string
  default     = ""
}

variable "secret_arn" {
  description = "ARN of the Secrets Manager secret with the NewsAPI key. It is made by hand, so that it is in no state file."
  type        = string
}

variable "efs_arn" {
  description = "ARN of the EFS file system that the ECS task mounts; empty without ECS."
  type        = string
  default     = ""
}

variable "log_group" {
  description = "Name of the log group of the ECS task."
  type        = string
  default     = "/driftline/live"
}

variable "repository_arn" {
  description = "ARN of the ECR repository that holds the image."
  type        = string
}
