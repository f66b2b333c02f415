"""State, messages and bytes in the memory of this process."""
