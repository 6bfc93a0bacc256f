"""The control plane: aiormq, on asyncio. What is rare goes through it; no other module knows of asyncio."""
