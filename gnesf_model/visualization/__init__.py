"""Pictures of images, labels and maps."""
