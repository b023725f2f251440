"""The Docker Engine of CodeBuild's build environment, and the base image that the tutorial's Dockerfile starts from."""
