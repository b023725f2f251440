"""CodeBuild: runs a buildspec by its documented rules, as the project's service role.

service.py answers the API, runner.py takes one build through its phases, managed_phases.py does CodeBuild's own part, buildspec.py and shell.py hold the rules of
buildspecs and their commands; the docstring of each says where it differs from AWS. On a machine without Docker or
root a build still runs, without a Docker Engine and without namespaces of its own.
"""

from rehearsal.codebuild.model import PipelineJob
from rehearsal.codebuild.service import announce, register

__all__ = ["PipelineJob", "announce", "register"]
