"""Archives with this library for clusters that do not have it, and the texts that start jobs with them."""
