"""Where results leave: ClickHouse, alerts, rollbacks, and the HTTP API that deployers ask."""
