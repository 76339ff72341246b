"""Which tables there are and where their metadata is: an Iceberg REST catalog."""
