"""State, messages and bytes in Redis or Valkey."""
