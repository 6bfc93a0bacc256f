"""What runs workers in production; the programs in it make files that are committed."""
