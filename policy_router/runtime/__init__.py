"""What touches the world: files and clocks."""
