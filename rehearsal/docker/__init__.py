"""The Docker Engine of CodeBuild's build environment, and the base image of the tutorial's Dockerfile."""
