"""Lambda functions whose code is in the template: the module cfnresponse, under AWS's condition.

AWS adds it to such code if that has the statement ``import cfnresponse`` ("cfn-response module", CloudFormation user
guide). MiniStack has no such module; launcher.py puts that of runtime/ on the functions' path.
"""

from __future__ import annotations

import re
from pathlib import Path

from rehearsal.emulator.extensions import Extensions, Json

TYPE = "AWS::Lambda::Function"
MODULES = Path(__file__).with_name("runtime")


def refuse_hidden_import(properties: Json) -> Json:
    """Refuse code that uses the module, but would not get it on AWS.

    Raises:
        ValueError: there is no line ``import cfnresponse``.
    """
    code = str(properties.get("Code", {}).get("ZipFile", ""))
    if re.search(r"\bcfnresponse\b", code) and not re.search(r"^\s*import cfnresponse\s*$", code, re.MULTILINE):
        raise ValueError("AWS adds the module cfnresponse only to code with a line `import cfnresponse` of its own")
    return properties


def register(extensions: Extensions) -> None:
    """Put the check before MiniStack's function."""
    extensions.amend_resource(TYPE, refuse_hidden_import)
