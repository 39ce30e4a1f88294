"""What things are: frozen values and documents."""
