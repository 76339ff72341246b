"""Loads the shared plugins; every fixture lives in tests/fixtures, one file per resource."""

pytest_plugins = (
    "fixtures.run_options",
    "fixtures.adapters",
    "fixtures.databases",
    "fixtures.crash",
    "fixtures.forks",
    "fixtures.streams",
    "fixtures.command_line",
    "fixtures.full_disk",
    "fixtures.servers",
    "fixtures.lake_servers",
    "fixtures.tcp_proxy",
    "fixtures.catalog_server",
    "fixtures.lake_tables",
    "fixtures.django_project",
    "fixtures.sqlalchemy_bank",
)
