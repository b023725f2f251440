"""The module cfnresponse for Lambda functions whose code is in the template, on AWS's condition.

AWS adds the module to such code if it has the statement ``import cfnresponse`` ("cfn-response module", CloudFormation
user guide). MiniStack has no such module, so functions import the one in runtime/.
"""

from __future__ import annotations

import re
from pathlib import Path

from rehearsal.emulator.extensions import Extensions, Json

TYPE = "AWS::Lambda::Function"
MODULES = Path(__file__).with_name("runtime")


def refuse_hidden_import(properties: Json) -> Json:
    """Refuse code that uses the module but would not get it on AWS.

    Raises:
        ValueError: the code has no line ``import cfnresponse``.
    """
    code = str(properties.get("Code", {}).get("ZipFile", ""))
    if re.search(r"\bcfnresponse\b", code) and not re.search(r"^\s*import cfnresponse\s*$", code, re.MULTILINE):
        raise ValueError("AWS adds the module cfnresponse only to code with the line `import cfnresponse`")
    return properties


def register(extensions: Extensions) -> None:
    """Offer the module, and check each function that imports it."""
    extensions.add_function_modules(MODULES)
    extensions.amend_resource(TYPE, refuse_hidden_import)
