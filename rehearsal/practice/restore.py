"""Puts back what was there before an exercise, by the shortest way: the commit, the cluster's objects, the role, the stack."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from rehearsal import executions, waiting
from rehearsal.emulator.client import root
from rehearsal.learner import BRANCH
from rehearsal.practice import facts
from rehearsal.practice.session import Session
from rehearsal.tutorial import NAMESPACE, PIPELINE, ROLE, Tutorial

#: Fields that only the API server writes.
SERVERS = ("resourceVersion", "uid", "creationTimestamp", "managedFields", "generation")
RELEASE = 180.0
#: How often an object is replaced until no one else has changed it at the same moment.
CONFLICTS = 10


def restore(session: Session, tutorial: Tutorial) -> None:
    """Restore everything; the learner's own changes in the checkout are kept in git's stash.

    Raises:
        subprocess.CalledProcessError, TimeoutError: a part could not be restored.
    """
    now, objects = facts.collect()
    changed = set(facts.differences(session.before, now))
    _restore_role(session.before, changed)
    _restore_access(session.before, now, changed)
    _restore_stack(session.before, now, changed)
    _restore_objects(session.objects, objects, changed)
    _restore_branch(session.base, tutorial)
    facts.kubectl(
        "--namespace", NAMESPACE, "rollout", "status", "deployment/hello-world", f"--timeout={waiting.bound(50):.0f}s"
    )


def _restore_objects(before: list[dict[str, Any]], now: list[dict[str, Any]], changed: set[str]) -> None:
    wanted = {facts.name(each): each for each in before}
    found = {facts.name(each): each for each in now}
    for name in sorted(changed & {*wanted, *found}):
        metadata = (wanted.get(name) or found[name])["metadata"]
        place = ["--namespace", metadata["namespace"]] if "namespace" in metadata else []
        if name not in wanted:
            facts.kubectl(*place, "delete", *name.split(), "--now")
        else:
            item = wanted[name] | {"metadata": {k: v for k, v in metadata.items() if k not in SERVERS}}
            item.pop("status", None)
            _put("replace" if name in found else "create", item)


def _put(verb: str, item: Mapping[str, Any]) -> None:
    # kubectl reads the object before it replaces it, and a controller may write its status in between.
    for _ in range(CONFLICTS):
        try:
            facts.kubectl(verb, "--filename=-", text=json.dumps(item))
        except subprocess.CalledProcessError as error:
            if "Operation cannot be fulfilled" not in error.stderr:
                raise
        else:
            return
    raise TimeoutError(f"{facts.name(item)} was changed by someone else each of {CONFLICTS} times that it was restored")


def _restore_access(before: Mapping[str, Any], now: Mapping[str, Any], changed: set[str]) -> None:
    eks, cluster = root("eks"), facts.cluster()
    name = f"access to the cluster {cluster}"
    if name not in changed:
        return
    wanted, found = before[name], now[name]
    for principal in facts.differences(wanted, found):
        whose = {"clusterName": cluster, "principalArn": principal}
        if principal in found:
            eks.delete_access_entry(**whose)
        if principal in wanted:
            eks.create_access_entry(**whose, **wanted[principal]["entry"])
            for policy in wanted[principal]["policies"]:
                eks.associate_access_policy(**whose, **policy)


def _restore_role(before: Mapping[str, Any], changed: set[str]) -> None:
    name = f"the role {ROLE}"
    if name not in changed:
        return
    iam, role = root("iam"), before[name]
    trust = json.dumps(role["trust"])
    try:
        iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=trust)
    except iam.exceptions.NoSuchEntityException:
        iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=trust)
    for policy in {*iam.list_role_policies(RoleName=ROLE)["PolicyNames"]} - {*role["policies"]}:
        iam.delete_role_policy(RoleName=ROLE, PolicyName=policy)
    for policy, document in role["policies"].items():
        iam.put_role_policy(RoleName=ROLE, PolicyName=policy, PolicyDocument=json.dumps(document))
    for attached in iam.list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"]:
        iam.detach_role_policy(RoleName=ROLE, PolicyArn=attached["PolicyArn"])


def _restore_stack(before: Mapping[str, Any], now: Mapping[str, Any], changed: set[str]) -> None:
    name = f"the stack {PIPELINE}"
    if name not in changed:
        return
    old, new = before[name]["parameters"], now[name]["parameters"]
    parameters = [
        {"ParameterKey": key, "UsePreviousValue": True} if new.get(key) == value
        else {"ParameterKey": key, "ParameterValue": value}
        for key, value in old.items()
    ]  # fmt: skip
    cloudformation = root("cloudformation")
    cloudformation.update_stack(
        StackName=PIPELINE, UsePreviousTemplate=True, Parameters=parameters, Capabilities=["CAPABILITY_NAMED_IAM"]
    )
    cloudformation.get_waiter("stack_update_complete").wait(
        StackName=PIPELINE, WaiterConfig={"Delay": 1, "MaxAttempts": int(waiting.bound(120))}
    )


def _restore_branch(base: str, tutorial: Tutorial) -> None:
    """Let the branch end with ``base`` again, and see that it is released."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=tutorial.checkout, env=dict(tutorial.env), check=True, capture_output=True, text=True,
            timeout=waiting.bound(60),
        ).stdout  # fmt: skip

    codepipeline = root("codepipeline")
    git("fetch", "--quiet", "origin", BRANCH)
    moved = git("rev-parse", "FETCH_HEAD").strip() != base
    git("stash", "push", "--quiet", "--include-untracked")
    git("checkout", "--quiet", BRANCH)
    git("reset", "--quiet", "--hard", base)
    if moved:
        before = executions.latest(codepipeline, PIPELINE, base)
        git("push", "--quiet", "--force", "origin", f"{base}:refs/heads/{BRANCH}")
        waiting.until(
            lambda: executions.latest(codepipeline, PIPELINE, base) != before, 30, "the pipeline to start", pause=0.25
        )
    elif executions.latest(codepipeline, PIPELINE, base).get("status") != "Succeeded":
        codepipeline.start_pipeline_execution(name=PIPELINE)
    executions.follow(codepipeline, PIPELINE, base, RELEASE)
