variable "inputs" {
  description = "Topics that driftline reads. They must exist: they are your producers'."
  type        = list(string)
  default     = ["predictions"]

  validation {
    condition     = length(var.inputs) > 0
    error_message = "Name at least one topic."
  }
}

variable "prefix" {
  description = "Begins the name of every internal topic, group and transaction: kafka.prefix."
  type        = string
  default     = "driftline."

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]{1,100}$", var.prefix))
    error_message = "The prefix may hold letters, digits, '.', '_' and '-'."
  }
}

variable "partitions" {
  description = "Of the topics whose work is shared: kafka.partitions. It cannot be changed later."
  type        = number
  default     = 8

  validation {
    condition     = var.partitions >= 1 && var.partitions <= 1000 && floor(var.partitions) == var.partitions
    error_message = "Between 1 and 1000."
  }
}

variable "replication" {
  description = "Copies of each internal topic: kafka.replication."
  type        = number
  default     = 3
}

variable "principal" {
  description = "The Kafka principal of a role; {role} becomes its name."
  type        = string
  default     = "User:driftline-{role}"
}

variable "scram_passwords" {
  description = "Passwords of SCRAM users by role; no user is made for a role that is not in it. They are kept in the state: protect it, or make the users elsewhere."
  type        = map(string)
  default     = {}
  sensitive   = true
}

variable "grafana" {
  description = "Whether to make the folder, data source and boards; the provider must then be configured."
  type        = bool
  default     = false
}

variable "clickhouse" {
  description = "Where Grafana reads, as grafana_reader."
  type = object({
    host     = string
    port     = optional(number, 9440)
    secure   = optional(bool, true)
    database = optional(string, "driftline")
  })
  default = { host = "clickhouse" }
}

variable "reader_password" {
  description = "Password of grafana_reader."
  type        = string
  default     = ""
  sensitive   = true
}

variable "boards" {
  description = "Folder with the boards' JSON: dashboards/generated of this version."
  type        = string
  default     = ""
}

variable "alerting" {
  description = "Folder with rules.yaml as `driftline grafana build` writes it: deploy/grafana/provisioning/alerting of this version; \"\" for no rules."
  type        = string
  default     = ""
}

variable "hook_url" {
  description = "Where Grafana finds driftline's hook: grafana.hook_url."
  type        = string
  default     = "http://serve:8780/v1/hooks/grafana"
}

variable "hook_secret" {
  description = "Signs what Grafana sends to the hook; \"\" for no hook."
  type        = string
  default     = ""
  sensitive   = true
}

variable "pagerduty_key" {
  description = "Integration key for critical rules; \"\" for none."
  type        = string
  default     = ""
  sensitive   = true
}

variable "slack_url" {
  description = "Incoming webhook for the other rules; \"\" for none."
  type        = string
  default     = ""
  sensitive   = true
}
