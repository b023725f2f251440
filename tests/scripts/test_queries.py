"""Each field that a ``--query`` of the scripts, buildspec.yml or a page names exists in AWS's answer, by its service model."""

from __future__ import annotations

import re
from functools import reduce
from typing import Any

import botocore.session
import jmespath
import jmespath.parser
import pytest
from botocore import xform_name
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from tests.support.paths import ROOT
from tests.support.queries import FILES, queries

SESSION = botocore.session.Session()
#: Scalars are None.
Answer = Shape | None


def model(service: str, operation: str) -> OperationModel:
    found = SESSION.get_service_model(service.removesuffix("api"))  # s3api
    return found.operation_model({xform_name(name, "-"): name for name in found.operation_names}[operation])


def field(name: str, answer: Answer) -> Answer:
    if answer is None or answer.name == "policyDocumentType":  # a string in which the AWS CLI finds JSON
        return None
    if isinstance(answer, MapShape):
        return answer.value
    assert isinstance(answer, StructureShape), f"{name} of a {answer.type_name}"
    assert name in answer.members, f"{name} is not in {answer.name}: {', '.join(answer.members)}"
    return answer.members[name]


def item(answer: Answer) -> Answer:
    return answer.member if isinstance(answer, ListShape) else answer


def follow(node: dict[str, Any], answer: Answer) -> Answer:
    """Return the shape of a JMESPath expression's value; fails if it names a field that the shape does not have."""
    kind, children = node["type"], node.get("children", [])
    if kind == "field":
        return field(node["value"], answer)
    if kind in ("subexpression", "index_expression", "pipe"):
        return reduce(lambda found, child: follow(child, found), children, answer)
    if kind in ("projection", "filter_projection"):
        each = item(follow(children[0], answer))
        for condition in children[2:]:
            follow(condition, each)
        return follow(children[1], each)
    values = [follow(child, answer) for child in children]
    if kind in ("flatten", "or_expression"):
        return values[0]
    if kind == "and_expression":
        return values[-1]
    # Of lists, functions and comparisons, nothing more is asked.
    return {"index": item(answer), "identity": answer, "current": answer}.get(kind)


@pytest.mark.parametrize(("file", "service", "operation", "query"), list(queries()))
def test_fields_exist_in_the_answer(file: str, service: str, operation: str, query: str) -> None:
    assert (ROOT / file).exists()
    parsed = jmespath.parser.Parser().parse(query).parsed
    follow(parsed, model(service, operation).output_shape)


@pytest.mark.parametrize("query", sorted({query for _, _, _, query in queries() if query.endswith(" ''")}))
def test_an_empty_text_replaces_what_is_missing(query: str) -> None:
    """The AWS CLI prints None otherwise, which the scripts take for an answer that is not from AWS."""
    assert jmespath.search(query, {"Stacks": [{}]}) == ""


def test_all_queries_are_found() -> None:
    counted = sum(len(re.findall(r"--query[ =]", path.read_text(encoding="utf-8"))) for path in FILES)
    assert len(list(queries())) >= counted - 2  # two name an operation or a service by a variable


def test_a_wrong_field_is_found() -> None:
    with pytest.raises(AssertionError, match="revisionMessage is not in SourceRevision"):
        test_fields_exist_in_the_answer(
            "buildspec.yml",
            "codepipeline",
            "list-pipeline-executions",
            "pipelineExecutionSummaries[].[sourceRevisions[0].revisionMessage]",
        )
