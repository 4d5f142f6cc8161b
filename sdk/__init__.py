"""What programs import as `workers`, and its companions."""
