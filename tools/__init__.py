"""Scripts about the project itself, started by the Makefile. Nothing in `pipeline` imports them."""
