# Alert rules and contact points, from the files that `driftline grafana build` writes. The tree of
# notification policies is left alone: each rule names its contact point itself.

resource "grafana_contact_point" "driftline" {
  for_each = local.contacts

  name = each.key

  dynamic "webhook" {
    for_each = each.value.hook ? [var.hook_url] : []
    content {
      url         = webhook.value
      http_method = "POST"

      hmac_config {
        secret           = var.hook_secret
        header           = "X-Grafana-Alerting-Signature"
        timestamp_header = "X-Grafana-Alerting-Timestamp"
      }
    }
  }

  dynamic "pagerduty" {
    for_each = each.value.pagerduty ? [each.value.severity] : []
    content {
      integration_key = var.pagerduty_key
      severity        = pagerduty.value
      class           = "model health"
      component       = "driftline"
    }
  }

  dynamic "slack" {
    for_each = each.value.slack ? [each.key] : []
    content {
      url = var.slack_url
    }
  }

  lifecycle {
    precondition {
      condition     = each.value.hook || each.value.pagerduty || each.value.slack
      error_message = "Nobody would hear of ${each.key}: set hook_secret, or pagerduty_key and slack_url."
    }
  }
}

resource "grafana_rule_group" "driftline" {
  for_each = { for group in local.groups : group.name => group }

  name             = each.key
  folder_uid       = grafana_folder.driftline[0].uid
  interval_seconds = tonumber(trimsuffix(each.value.interval, "s"))

  dynamic "rule" {
    for_each = each.value.rules
    content {
      uid                             = rule.value.uid
      name                            = rule.value.title
      condition                       = rule.value.condition
      for                             = rule.value.for
      keep_firing_for                 = rule.value.keepFiringFor
      missing_series_evals_to_resolve = rule.value.missing_series_evals_to_resolve
      no_data_state                   = rule.value.noDataState
      exec_err_state                  = rule.value.execErrState
      is_paused                       = rule.value.isPaused
      labels                          = rule.value.labels
      annotations                     = merge(rule.value.annotations, local.panels[rule.value.uid])

      notification_settings {
        contact_point   = rule.value.notification_settings.receiver
        group_by        = rule.value.notification_settings.group_by
        group_wait      = rule.value.notification_settings.group_wait
        group_interval  = rule.value.notification_settings.group_interval
        repeat_interval = rule.value.notification_settings.repeat_interval
      }

      # `data` as a name is taken: data.x.y is a data source.
      dynamic "data" {
        for_each = rule.value.data
        iterator = step
        content {
          ref_id         = step.value.refId
          datasource_uid = step.value.datasourceUid
          model          = jsonencode(step.value.model)

          relative_time_range {
            from = step.value.relativeTimeRange.from
            to   = step.value.relativeTimeRange.to
          }
        }
      }
    }
  }

  depends_on = [
    grafana_contact_point.driftline,
    grafana_dashboard.board,
    grafana_data_source.driftline,
  ]
}
