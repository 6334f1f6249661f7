"""What is known, put together for those who ask: the commands, the API and the page say the same of it."""
