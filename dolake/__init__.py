"""DoLake: every change of DoSQL databases in Apache Iceberg, exactly once."""

__all__: list[str] = []
