"""Programs for maintainers, each re-runnable from nothing."""
