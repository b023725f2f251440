"""The form that CloudFormation's console makes of the template, as the table in README.md.

    python -m tests.support.console_form

The console shows the parameters in the groups, under the labels and in the order of the template's
``AWS::CloudFormation::Interface`` (CloudFormation user guide, "AWS::CloudFormation::Interface").
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.support.template import TEMPLATE

HEADER = ("group", "label", "parameter", "default", "meaning")


def form() -> str:
    """Return the table, with each group's name on its first row."""
    interface, parameters = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"], TEMPLATE["Parameters"]
    rows = []
    for group in interface["ParameterGroups"]:
        for position, name in enumerate(group["Parameters"]):
            rows.append(
                (
                    "" if position else f"**{group['Label']['default']}**",
                    interface["ParameterLabels"][name]["default"],
                    f"`{name}`",
                    _code(str(parameters[name].get("Default", ""))),
                    " ".join(parameters[name]["Description"].split()),
                )
            )
    return "".join(_line(row) for row in (HEADER, ("---",) * len(HEADER), *rows))


def _line(cells: Iterable[str]) -> str:
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|\n"


def _code(value: str) -> str:
    return f"`{value}`" if value else ""


if __name__ == "__main__":
    print(form(), end="")
