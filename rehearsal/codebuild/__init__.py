"""CodeBuild: runs a buildspec by its documented rules, as the project's service role.

- ``model``: a build and its record
- ``service``: answers the API's build actions
- ``runner``: takes a build through its phases
- ``managed_phases``: the phases that CodeBuild runs itself
- ``buildspec``, ``environment``, ``artifacts``: the rules for what goes into a build and what comes out
- ``shell``, ``container``: run the commands of the buildspec
- ``logs``, ``credentials``: the build's log and the service role's credentials

The docstring of each module lists the differences from AWS. Without root or Docker a build still runs, but without its
own namespaces or a Docker Engine.
"""

from rehearsal.codebuild.model import PipelineJob
from rehearsal.codebuild.service import announce, register

__all__ = ["PipelineJob", "announce", "register"]
