"""Ask the cluster whether a user may do everything that deployer-rbac.yml grants.

    reviews.py ask NAMESPACE USER GROUPS <deployer-rbac.yml >reviews.json
    kubectl create -f reviews.json -o json | reviews.py denied reviews.json

``ask`` prints a SubjectAccessReview for each verb and resource, of the user as the API server sees it: GROUPS, separated
by commas, and system:authenticated, which every signed-in user is in (Kubernetes documentation, "Authorization" and
"Authenticating"). ``denied`` prints the rights that the answers do not allow, in one line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]


def reviews(role: Json, namespace: str, user: str, groups: list[str]) -> Iterator[Json]:
    """Yield a SubjectAccessReview for each verb, resource and name in the role's rules."""
    for rule in role["rules"]:
        for group, resource in ((group, resource) for group in rule["apiGroups"] for resource in rule["resources"]):
            kind, _, subresource = resource.partition("/")
            for verb, name in ((verb, name) for verb in rule["verbs"] for name in rule.get("resourceNames") or [""]):
                asked = {"namespace": namespace, "verb": verb, "group": group, "resource": kind}
                more = {"subresource": subresource, "name": name}
                yield {
                    "apiVersion": "authorization.k8s.io/v1",
                    "kind": "SubjectAccessReview",
                    "spec": {
                        "user": user,
                        "groups": [*groups, "system:authenticated"],
                        "resourceAttributes": asked | {key: value for key, value in more.items() if value},
                    },
                }


def named(review: Json) -> str:
    """Return the right that a review asks for, as in "create deployments.apps"."""
    asked = review["spec"]["resourceAttributes"]
    kind = "/".join(asked[key] for key in ("resource", "subresource") if asked.get(key))
    return f"{asked['verb']} {kind}{'.' if asked.get('group') else ''}{asked.get('group', '')} {asked.get('name', '')}".strip()


def documents(text: str) -> Iterator[Json]:
    """Yield the JSON documents that kubectl printed one after the other.

    Raises:
        ValueError: it printed something else.
    """
    while text := text.strip():
        found, end = json.JSONDecoder().raw_decode(text)
        yield found
        text = text[end:]


def denied(asked: list[Json], answers: str) -> list[str]:
    """Return the rights that were asked for and not allowed."""
    try:
        allowed = [named(each) for each in documents(answers) if each["status"]["allowed"] is True]
    except (ValueError, KeyError, TypeError):
        allowed = []
    return [right for right in map(named, asked) if right not in allowed]


def main() -> None:
    """Run the command line."""
    verb, *rest = sys.argv[1:]
    if verb == "ask":
        namespace, user, groups = rest
        (role,) = [each for each in yaml.safe_load_all(sys.stdin.buffer) if each and each["kind"] == "Role"]
        found = list(reviews(role, namespace, user, [each for each in groups.split(",") if each]))
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": found}))
    else:
        asked = json.loads(Path(rest[0]).read_text(encoding="utf-8"))["items"]
        print(", ".join(denied(asked, sys.stdin.read())))


if __name__ == "__main__":
    main()
