"""What watches a run and fills its metrics."""
