"""What every room needs and none is about: files, images, devices, random numbers."""
