"""Results of queries, laid out: as tables for people, as text for programs, as charts."""
