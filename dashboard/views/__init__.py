"""The doorways of the pages: access, shape, service, render."""
