"""What is wrong with a rule file: values, how they look, and no secret in them."""
