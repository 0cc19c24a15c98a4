"""How records become rows and dead letters. Pure and total."""
