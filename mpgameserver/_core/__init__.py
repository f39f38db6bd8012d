"""The compiled core. Private: its modules serve the package and may change without notice."""
