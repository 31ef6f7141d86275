"""The control plane over HTTPS: routes, and the program that serves them."""
