# Topics and rights of driftline in a Kafka, and its boards in a Grafana. The lists are in
# access.tf.json, which is made from deploy/access.py.

resource "kafka_topic" "internal" {
  for_each = local.topics

  name               = "${var.prefix}${each.key}"
  partitions         = each.value.partitioned ? var.partitions : 1
  replication_factor = var.replication
  config             = each.value.config

  lifecycle {
    # They hold the state of the judge and what is still to be delivered.
    prevent_destroy = true
  }
}

resource "kafka_acl" "role" {
  for_each = local.acls

  resource_name                = each.value.own ? "${var.prefix}${each.value.name}" : each.value.name
  resource_type                = each.value.type
  resource_pattern_type_filter = each.value.pattern
  acl_principal                = replace(var.principal, "{role}", each.value.role)
  acl_host                     = "*"
  acl_operation                = each.value.operation
  acl_permission_type          = "Allow"
}

resource "kafka_user_scram_credential" "role" {
  for_each = toset([for role in local.roles : role if contains(nonsensitive(keys(var.scram_passwords)), role)])

  username        = trimprefix(replace(var.principal, "{role}", each.value), "User:")
  scram_mechanism = "SCRAM-SHA-512"
  password        = var.scram_passwords[each.value]
}

resource "grafana_folder" "driftline" {
  count = var.grafana ? 1 : 0

  uid   = "driftline"
  title = "Model health"
}

resource "grafana_data_source" "driftline" {
  count = var.grafana ? 1 : 0

  uid  = "driftline"
  name = "driftline"
  type = "grafana-clickhouse-datasource"

  json_data_encoded = jsonencode({
    host            = var.clickhouse.host
    port            = var.clickhouse.port
    protocol        = "native"
    secure          = var.clickhouse.secure
    username        = "grafana_reader"
    defaultDatabase = var.clickhouse.database
    dialTimeout     = "10"
    queryTimeout    = "30"
  })
  secure_json_data_encoded = jsonencode({ password = var.reader_password })
}

resource "grafana_dashboard" "board" {
  for_each = local.boards

  folder      = grafana_folder.driftline[0].uid
  config_json = file("${var.boards}/${each.value}")
  overwrite   = true

  depends_on = [grafana_data_source.driftline]
}
