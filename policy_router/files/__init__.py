"""What reads files, tells the time and makes ids."""
