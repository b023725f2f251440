"""The whole tutorial on one machine without an AWS account. README.md in this folder lists the stand-ins."""
