"""What an env may hold beside objects."""
