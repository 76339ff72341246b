"""What two branches did since their best common moment, put together."""
