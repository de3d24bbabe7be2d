"""What `doctor` looks at, one function a check: a folder, the software, a device, a scheduler."""
