"""The characters that a stack excludes from a generated secret.

Follows GenerateSecretString of AWS::SecretsManager::Secret; of its exclusions, MiniStack has only ExcludeCharacters.
"""

from __future__ import annotations

import string

from rehearsal.emulator.extensions import Extensions, Json

TYPE = "AWS::SecretsManager::Secret"
KINDS = {
    "ExcludeLowercase": string.ascii_lowercase,
    "ExcludeNumbers": string.digits,
    "ExcludePunctuation": string.punctuation,
    "ExcludeUppercase": string.ascii_uppercase,
}


def spell_out_exclusions(properties: Json) -> Json:
    """Add the characters of each excluded kind to ExcludeCharacters."""
    asked = properties.get("GenerateSecretString")
    if not asked:
        return properties
    kinds = [characters for name, characters in KINDS.items() if str(asked.get(name, False)).lower() == "true"]
    excluded = str(asked.get("ExcludeCharacters", "")) + "".join(kinds)
    return properties | {"GenerateSecretString": asked | {"ExcludeCharacters": excluded}}


def register(extensions: Extensions) -> None:
    """Apply the exclusions to every secret of a stack."""
    extensions.amend_resource(TYPE, spell_out_exclusions)
