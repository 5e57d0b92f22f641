terraform {
  required_version = ">= 1.6"
  required_providers {
    kafka = {
      source  = "Mongey/kafka"
      version = ">= 0.8.0, < 1.0.0"
    }
    grafana = {
      source  = "grafana/grafana"
      version = ">= 4.10.0, < 5.0.0"
    }
  }
}
