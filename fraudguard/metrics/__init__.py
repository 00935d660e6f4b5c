"""What the service tells whoever watches it: counted in the event loop, read and served from a thread of its own."""
