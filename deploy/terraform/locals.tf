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
}
