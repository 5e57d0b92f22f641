output "topics" {
  description = "Names of the internal topics."
  value       = sort([for topic in kafka_topic.internal : topic.name])
}

output "principals" {
  description = "The Kafka principal of each role."
  value       = { for role in local.roles : role => replace(var.principal, "{role}", role) }
}
