"""The module cfnresponse for Lambda functions whose code is in the template, on AWS's condition; and retired runtimes.

AWS adds the module to such code if it has the statement ``import cfnresponse`` ("cfn-response module", CloudFormation
user guide). MiniStack has no such module, so functions import the one in runtime/. It has no retired runtimes either (Lambda
developer guide, "Deprecated runtimes").
"""

from __future__ import annotations

import re
from pathlib import Path

from rehearsal.emulator.extensions import Extensions, Json

TYPE = "AWS::Lambda::Function"
MODULES = Path(__file__).with_name("runtime")
#: Runtimes of Python in which no function can be created.
RETIRED = ("python2.7", "python3.6", "python3.7")


def refuse_hidden_import(properties: Json) -> Json:
    """Refuse code that uses the module but would not get it on AWS.

    Raises:
        ValueError: the code has no line ``import cfnresponse``.
    """
    code = str(properties.get("Code", {}).get("ZipFile", ""))
    if re.search(r"\bcfnresponse\b", code) and not re.search(r"^\s*import cfnresponse\s*$", code, re.MULTILINE):
        raise ValueError("AWS adds the module cfnresponse only to code with the line `import cfnresponse`")
    return properties


def refuse_retired_runtime(properties: Json) -> Json:
    """Refuse a function for a retired runtime.

    Raises:
        ValueError: the runtime is retired; the message is Lambda's, by way of CloudFormation.
    """
    runtime = properties.get("Runtime")
    if runtime in RETIRED:
        raise ValueError(
            f'Resource handler returned message: "The runtime parameter of {runtime} is no longer supported for creating or '
            'updating AWS Lambda functions." (HandlerErrorCode: InvalidRequest)'
        )
    return properties


def register(extensions: Extensions) -> None:
    """Offer the module, and check each function that imports it, and its runtime."""
    extensions.add_function_modules(MODULES)
    extensions.amend_resource(TYPE, lambda properties: refuse_hidden_import(refuse_retired_runtime(properties)))
