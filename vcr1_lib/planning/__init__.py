"""What a run will need in memory, hours and money, before it starts."""
