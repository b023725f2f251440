"""The whole tutorial on one machine without an AWS account; README.md beside this file says what stands in for what."""
