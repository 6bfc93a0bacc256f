"""The image, made and run without a container engine."""
