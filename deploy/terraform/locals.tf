locals {
  acls = {
    for right in concat(
      local.rights,
      flatten([
        for topic in var.inputs : [
          for operation in ["Read", "Describe"] : {
            role = "summarize", type = "Topic", name = topic, own = false, pattern = "Literal", operation = operation
          }
        ]
      ]),
    ) : join("|", [right.role, right.type, right.own ? "${var.prefix}${right.name}" : right.name, right.operation]) => right
  }
  boards = var.grafana && var.boards != "" ? fileset(var.boards, "*.json") : toset([])

  # Alerting: the groups of rules, the panel that shows each rule, and who is told.
  groups = flatten([
    for name in var.grafana && var.alerting != "" ? ["rules.yaml"] : [] :
    yamldecode(file("${var.alerting}/${name}")).groups
  ])
  panels = {
    for rule in flatten(local.groups[*].rules) : rule.uid => {
      __dashboardUid__ = rule.dashboardUid
      __panelId__      = tostring(rule.panelId)
    }
  }
  told = {
    "driftline page" = {
      severity  = "critical"
      hook      = nonsensitive(var.hook_secret != "")
      pagerduty = nonsensitive(var.pagerduty_key != "")
      slack     = false
    }
    "driftline notify" = {
      severity  = "warning"
      hook      = nonsensitive(var.hook_secret != "")
      pagerduty = false
      slack     = nonsensitive(var.slack_url != "")
    }
  }
  contacts = { for name, to in local.told : name => to if length(local.groups) > 0 }
}
