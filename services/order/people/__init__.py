"""What waits for people: decisions that an event asks for, and work that neighbours refuse again and again."""
