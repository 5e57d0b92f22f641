"""What people look at: Grafana boards as code and the console. They know table names only."""
