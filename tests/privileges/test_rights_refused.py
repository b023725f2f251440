"""Calls that each identity of the tutorial is denied, with the similar call that it is allowed.

Every call is made with the identity's own credentials, in the kept rehearsal with the stack. Tokens, and who may access
the cluster at all, are in test_eks_identity.py.
"""

from __future__ import annotations

import json
import re
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from rehearsal.emulator.client import root
from rehearsal.secret import root_keys
from rehearsal.settings import settings
from rehearsal.waiting import until
from tests.support.fixtures import Figure, Rehearsal
from tests.support.names import CLUSTER, NAMESPACE, ROLE, STACK
from tests.support.tokens import sign

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(180)]

Json = dict[str, Any]
REGION, ACCOUNT = settings.region, settings.account
GROUP = "deployers"
OPEN = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    ],
}
ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
OTHER_BUCKET = "privilege-test-payroll"
DENIED = ("AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation")


@dataclass
class Identities:
    """The tutorial's identities and their keys, and the resources of the stack."""

    keys: dict[str, Json]
    outputs: dict[str, str]

    def answer(self, who: str, service: str, call: str, **arguments: Any) -> str:
        """Make a call as an identity; return the error code, empty if it succeeded."""
        key = self.keys[who]
        client: Any = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], key.get("SessionToken"), REGION).client(  # type: ignore[call-overload]
            service, endpoint_url=settings.aws_url, config=Config(proxies={}, retries={"total_max_attempts": 1})
        )
        try:
            getattr(client, call)(**{name: self._filled(value) for name, value in arguments.items()})
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    def _filled(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self._filled(each) for each in value]
        known = self.outputs | {"account": ACCOUNT}
        return re.sub(r"\{(\w+)\}", lambda found: known[found[1]], value) if isinstance(value, str) else value


@pytest.fixture(scope="module", name="identities")
def _identities(stack: Rehearsal) -> Iterator[Identities]:
    """Keys of each identity. The roles' trust policies, which allow services only, are opened briefly to get theirs."""
    iam = root("iam")
    # The bucket must exist to be denied, since S3 checks that first.
    root("s3").create_bucket(Bucket=OTHER_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    iam.create_user(UserName="privilege-test")
    iam.put_user_policy(UserName="privilege-test", PolicyName="all", PolicyDocument=json.dumps(ANYTHING))
    administrator = iam.create_access_key(UserName="privilege-test")["AccessKey"]
    (found,) = root("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]}
    listed = root("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
    physical = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in listed}
    outputs |= {"Repository": outputs["EcrRepositoryUri"].partition("/")[2], **physical}
    keys = {
        "learner": {
            "AccessKeyId": stack.env["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": stack.env["AWS_SECRET_ACCESS_KEY"],
        },
        "administrator": administrator,
        "root": dict(zip(("AccessKeyId", "SecretAccessKey"), root_keys(), strict=True)),
    }
    try:
        for who, name in {
            "kubectl": ROLE,
            "build": physical["CodeBuildRole"],
            "pipeline": physical["PipelineRole"],
            "function": physical["TrustFunctionRole"],
        }.items():
            keys[who] = session(name, administrator)
        yield Identities(keys, outputs)
    finally:
        iam.delete_access_key(UserName="privilege-test", AccessKeyId=administrator["AccessKeyId"])
        iam.delete_user_policy(UserName="privilege-test", PolicyName="all")
        iam.delete_user(UserName="privilege-test")
        root("s3").delete_bucket(Bucket=OTHER_BUCKET)


def session(name: str, user: Json) -> Json:
    """Return credentials of a role, whose trust policy is opened briefly."""
    iam = root("iam")
    before = iam.get_role(RoleName=name)["Role"]
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(OPEN))
    try:
        sts = boto3.Session(user["AccessKeyId"], user["SecretAccessKey"], region_name=REGION).client(
            "sts", endpoint_url=settings.aws_url, config=Config(proxies={})
        )
        return dict(sts.assume_role(RoleArn=before["Arn"], RoleSessionName="privilege-test")["Credentials"])
    finally:
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(before["AssumeRolePolicyDocument"]))


@dataclass(frozen=True)
class Case:
    """A call that ``who`` is denied; with the arguments ``own``, which name its own resource, it is allowed."""

    who: str
    what: str
    arguments: Json
    own: Json | None = None

    def answer(self, identities: Identities, own: Json) -> str:
        service, _, call = self.what.partition(".")
        return identities.answer(self.who, service, call, **{**self.arguments, **own})


def case(who: str, what: str, own: Json | None = None, /, **arguments: Any) -> Case:
    return Case(who, what, arguments, own)


OTHER_ROLE = "arn:aws:iam::{account}:role/Admin"
BUILDS = f"/aws/codebuild/{STACK}"
OTHER_IMAGE = {"repositoryName": "payroll", "imageIds": [{"imageTag": "cache"}]}
LAYER = {"repositoryName": "payroll", "layerDigests": ["sha256:" + "0" * 64]}
NEW_ROLE = {"AssumeRolePolicyDocument": "{}", "RoleName": "Admin"}
POLICY = {"PolicyName": "x", "PolicyDocument": json.dumps(ANYTHING)}
TRUST = {"PolicyDocument": json.dumps(OPEN)}
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
ASSUME: Json = {"RoleSessionName": "privilege-test"}
OWN_ARTIFACT = f"{STACK}/Sbom/privilege-test"
CASES = (
    # The learner, who made the cluster and the stack
    case("learner", "eks.describe_cluster", {"name": CLUSTER}, name="production"),
    case("learner", "eks.delete_cluster", name="production"),
    case("learner", "eks.create_access_entry", clusterName="production", principalArn=OTHER_ROLE),
    case("learner", "eks.delete_access_entry", clusterName="production", principalArn=OTHER_ROLE),
    case("learner", "eks.update_cluster_version", name="production", version="1.37"),
    case("learner", "eks.delete_nodegroup", clusterName="production", nodegroupName="nodes"),
    case("learner", "eks.create_addon", clusterName="production", addonName="coredns"),
    case("learner", "ec2.create_vpc", CidrBlock="10.0.0.0/16"),
    case("learner", "ec2.run_instances", ImageId="ami-0", MinCount=1, MaxCount=1),
    case("learner", "cloudformation.describe_stacks", {"StackName": STACK}, StackName="payroll"),
    case("learner", "cloudformation.delete_stack", StackName="payroll"),
    case("learner", "cloudformation.update_stack", StackName="payroll", TemplateBody="{}"),
    case("learner", "iam.get_role", {"RoleName": ROLE}, RoleName="Admin"),
    case("learner", "iam.create_role", **NEW_ROLE),
    case("learner", "iam.delete_role", RoleName="Admin"),
    case("learner", "iam.put_role_policy", RoleName="Admin", **POLICY),
    case("learner", "iam.update_assume_role_policy", RoleName=ROLE, **TRUST),
    case("learner", "iam.attach_role_policy", RoleName=ROLE, PolicyArn=ADMINISTRATOR),
    case("learner", "iam.attach_role_policy", RoleName=f"eksctl-{CLUSTER}-cluster-ServiceRole", PolicyArn=ADMINISTRATOR),
    case("learner", "iam.put_role_policy", RoleName=f"eksctl-{CLUSTER}-cluster-ServiceRole", **POLICY),
    # Only CloudFormation may change the stack's resources on the learner's behalf
    case("learner", "iam.put_role_policy", RoleName="{CodeBuildRole}", **POLICY),
    case("learner", "iam.update_assume_role_policy", RoleName="{CodeBuildRole}", **TRUST),
    case("learner", "lambda.invoke", FunctionName="{TrustFunction}"),
    case("learner", "lambda.update_function_configuration", FunctionName="{TrustFunction}", Timeout=900),
    case("learner", "codebuild.update_project", name=STACK, timeoutInMinutes=480),
    case("learner", "codepipeline.delete_pipeline", name=STACK),
    case("learner", "secretsmanager.get_secret_value", SecretId="{WebhookSecret}"),
    case("learner", "ecr.delete_repository", repositoryName="{Repository}", force=True),
    case("learner", "s3.delete_bucket", Bucket="{ArtifactBucketName}"),
    case("learner", "s3.list_objects_v2", Bucket="{ArtifactBucketName}"),
    case("learner", "s3.get_object", Bucket="{ArtifactBucketName}", Key=f"{STACK}/Source/x"),
    case("learner", "codepipeline.get_pipeline", {"name": STACK}, name="payroll"),
    case("learner", "codepipeline.start_pipeline_execution", name="payroll"),
    case("learner", "logs.filter_log_events", {"logGroupName": BUILDS}, logGroupName="/aws/lambda/payroll"),
    case("learner", "sts.assume_role", RoleArn="{KubectlRoleArn}", **ASSUME),
    case("learner", "sts.assume_role", RoleArn="{CodeBuildRoleArn}", **ASSUME),
    # The kubectl role, which builds assume
    case("kubectl", "eks.describe_cluster", {"name": CLUSTER}, name="production"),
    case("kubectl", "eks.list_clusters"),
    case("kubectl", "eks.delete_cluster", name=CLUSTER),
    case("kubectl", "eks.create_access_entry", clusterName=CLUSTER, principalArn=OTHER_ROLE),
    case("kubectl", "ecr.get_authorization_token"),
    case("kubectl", "iam.get_role", RoleName=ROLE),
    case("kubectl", "s3.list_buckets"),
    case("kubectl", "sts.assume_role", RoleArn="{CodeBuildRoleArn}", **ASSUME),
    # CodeBuild's role, which runs any commit's buildspec.yml
    case("build", "sts.assume_role", {"RoleArn": "{KubectlRoleArn}"}, RoleArn=OTHER_ROLE, **ASSUME),
    case("build", "sts.assume_role", RoleArn=f"arn:aws:iam::444455556666:role/{ROLE}", **ASSUME),
    case("build", "eks.describe_cluster", name=CLUSTER),
    case("build", "ecr.batch_get_image", {"repositoryName": "{Repository}"}, **OTHER_IMAGE),
    case("build", "ecr.batch_check_layer_availability", {"repositoryName": "{Repository}"}, **LAYER),
    case("build", "ecr.initiate_layer_upload", {"repositoryName": "{Repository}"}, repositoryName="payroll"),
    case("build", "ecr.put_image", repositoryName="payroll", imageManifest="{}"),
    case("build", "ecr.batch_delete_image", **OTHER_IMAGE | {"repositoryName": "{Repository}"}),
    case("build", "ecr.put_image_tag_mutability", repositoryName="{Repository}", imageTagMutability="MUTABLE"),
    case("build", "s3.get_object", Bucket=OTHER_BUCKET, Key="x"),
    case("build", "s3.put_object", {"Key": OWN_ARTIFACT}, Bucket="{ArtifactBucketName}", Key=f"{STACK}/Source/x", Body="x"),
    case("build", "s3.delete_object", Bucket="{ArtifactBucketName}", Key="x"),
    case("build", "s3.list_objects_v2", Bucket="{ArtifactBucketName}"),
    case("build", "logs.create_log_stream", {"logGroupName": BUILDS}, logGroupName="payroll", logStreamName="privilege-test"),
    case("build", "logs.delete_log_group", logGroupName=BUILDS),
    case("build", "logs.get_log_events", logGroupName=BUILDS, logStreamName="x"),
    case("build", "secretsmanager.get_secret_value", SecretId="{WebhookSecret}"),
    case("build", "codepipeline.get_pipeline", name=STACK),
    case("build", "codebuild.start_build", projectName=STACK),
    case("build", "iam.put_role_policy", RoleName="{CodeBuildRole}", **POLICY),
    case("build", "cloudformation.describe_stacks", StackName=STACK),
    # CodePipeline's role
    case("pipeline", "codebuild.start_build", projectName="payroll"),
    case("pipeline", "codebuild.update_project", name=STACK, timeoutInMinutes=480),
    case("pipeline", "s3.get_bucket_versioning", {"Bucket": "{ArtifactBucketName}"}, Bucket=OTHER_BUCKET),
    case("pipeline", "s3.put_object", {"Bucket": "{ArtifactBucketName}"}, Bucket=OTHER_BUCKET, Key="privilege-test", Body="x"),
    case("pipeline", "s3.delete_object", Bucket="{ArtifactBucketName}", Key="privilege-test"),
    case("pipeline", "ecr.get_authorization_token"),
    case("pipeline", "sts.assume_role", RoleArn="{KubectlRoleArn}", **ASSUME),
    case("pipeline", "secretsmanager.get_secret_value", SecretId="{WebhookSecret}"),
    case("pipeline", "codepipeline.get_pipeline", name=STACK),
    # The function's role
    case("function", "iam.get_role", {"RoleName": ROLE}, RoleName="Admin"),
    case("function", "iam.update_assume_role_policy", RoleName="{CodeBuildRole}", **TRUST),
    case("function", "iam.put_role_policy", RoleName=ROLE, **POLICY),
    case("function", "iam.delete_role", RoleName=ROLE),
    case("function", "s3.list_object_versions", {"Bucket": "{ArtifactBucketName}"}, Bucket=OTHER_BUCKET),
    case("function", "s3.delete_object", Bucket=OTHER_BUCKET, Key="x"),
    case("function", "s3.get_object", Bucket="{ArtifactBucketName}", Key="x"),
    case("function", "s3.delete_bucket", Bucket="{ArtifactBucketName}"),
    case("function", "sts.assume_role", RoleArn="{KubectlRoleArn}", **ASSUME),
    # An administrator and root: the trust policy allows the builds only
    case("administrator", "sts.assume_role", RoleArn="{KubectlRoleArn}", **ASSUME),
    case("administrator", "sts.assume_role", RoleArn="{CodeBuildRoleArn}", **ASSUME),
    case("root", "sts.assume_role", RoleArn="{KubectlRoleArn}", **ASSUME),
)  # fmt: skip

APPS, CORE, RBAC = (
    f"/{group}/namespaces/{NAMESPACE}" for group in ("apis/apps/v1", "api/v1", "apis/rbac.authorization.k8s.io/v1")
)
DEPLOYMENT = f"{APPS}/deployments/hello-world"
#: Requests to the cluster that are forbidden to the deployer.
FORBIDDEN = (
    # secrets, and the ways to them
    ("GET", f"{CORE}/secrets"),
    ("GET", f"{CORE}/secrets/token"),
    ("GET", f"{CORE}/secrets/hello-world"),
    ("GET", f"{CORE}/secrets?watch=1"),
    ("PATCH", f"{CORE}/secrets/hello-world"),
    ("DELETE", f"{CORE}/secrets/hello-world"),
    ("POST", f"{CORE}/secrets"),
    ("POST", f"{CORE}/serviceaccounts/default/token"),
    ("GET", f"{CORE}/configmaps"),
    ("GET", f"{CORE}/configmaps/hello-world"),
    # a shell, a proxy, another pod
    ("POST", f"{CORE}/pods/hello-world/exec?command=sh&stdin=true&stdout=true"),
    ("GET", f"{CORE}/pods/hello-world/exec?command=sh&stdin=true&stdout=true"),
    ("POST", f"{CORE}/pods/hello-world/attach?stdin=true"),
    ("POST", f"{CORE}/pods/hello-world/portforward?ports=8080"),
    ("PATCH", f"{CORE}/pods/hello-world/ephemeralcontainers"),
    ("GET", f"{CORE}/pods/hello-world/proxy/version"),
    ("GET", f"{CORE}/services/hello-world/proxy/"),
    ("GET", f"{CORE}/services/hello-world:80/proxy/version"),
    ("GET", f"{CORE}/services/another:http/proxy/version"),
    ("POST", f"{CORE}/services/hello-world:http/proxy/version"),
    ("PUT", f"{CORE}/services/hello-world:http/proxy/version"),
    ("DELETE", f"{CORE}/services/hello-world:http/proxy/version"),
    ("GET", "/api/v1/namespaces/default/services/hello-world:http/proxy/version"),
    ("POST", f"{CORE}/pods"),
    ("DELETE", f"{CORE}/pods/hello-world"),
    ("POST", f"{CORE}/pods/hello-world/eviction"),
    # other verbs and kinds in its own namespace
    ("GET", f"{APPS}/statefulsets"),
    ("DELETE", DEPLOYMENT),
    ("DELETE", f"{APPS}/deployments"),
    ("PUT", DEPLOYMENT),
    ("PATCH", f"{DEPLOYMENT}/scale"),
    ("DELETE", f"{CORE}/services/hello-world"),
    ("POST", f"{APPS}/daemonsets"),
    ("DELETE", f"{APPS}/replicasets/hello-world"),
    ("DELETE", CORE),
    ("PATCH", CORE),
    # more permissions
    ("PATCH", f"{RBAC}/roles/deployer"),
    ("POST", f"{RBAC}/rolebindings"),
    ("GET", f"{RBAC}/roles"),
    # other namespaces
    ("GET", "/apis/apps/v1/namespaces/default/deployments"),
    ("POST", "/apis/apps/v1/namespaces/default/deployments"),
    ("GET", "/api/v1/namespaces/kube-system/pods"),
    ("GET", "/api/v1/namespaces/kube-system/configmaps/aws-auth"),
    ("PATCH", "/api/v1/namespaces/kube-system/configmaps/aws-auth"),
    ("GET", "/api/v1/namespaces/kube-system/secrets"),
    # the whole cluster
    ("GET", "/apis/apps/v1/deployments"),
    ("GET", "/api/v1/secrets"),
    ("GET", "/api/v1/pods"),
    ("GET", "/api/v1/nodes"),
    ("GET", "/api/v1/nodes/node-1/proxy/pods"),
    ("GET", "/api/v1/namespaces"),
    ("POST", "/api/v1/namespaces"),
    ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
    ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests"),
    ("GET", "/metrics"),
)
ALLOWED = (
    DEPLOYMENT,
    f"{APPS}/deployments",
    f"{APPS}/replicasets",
    f"{CORE}/pods",
    f"{CORE}/events",
    f"{CORE}/services/hello-world",
    f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets/hello-world",
    f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers/hello-world",
    f"{CORE}/services/hello-world:http/proxy/version",  # once a pod is ready
)

#: ``kubectl auth can-i --list`` of the deployer in its namespace, without what every authenticated user has.
CAN_I = """\
deployments.apps [] [] [get list watch create patch]
events [] [] [list]
horizontalpodautoscalers.autoscaling [] [] [get create patch]
poddisruptionbudgets.policy [] [] [get create patch]
pods [] [] [get list]
pods/log [] [] [get]
replicasets.apps [] [] [list]
services [] [] [get create patch]
services/proxy [] [hello-world:http] [get]
"""


@pytest.fixture(scope="module", name="token")
def _token(identities: Identities) -> str:
    """A token of the kubectl role, like that of a build's kubectl."""
    key = identities.keys["kubectl"]
    names = {
        "AccessKeyId": "AWS_ACCESS_KEY_ID",
        "SecretAccessKey": "AWS_SECRET_ACCESS_KEY",
        "SessionToken": "AWS_SESSION_TOKEN",
    }
    return sign(CLUSTER, {name: key[given] for given, name in names.items()})


@pytest.fixture(scope="module", name="api")
def _api(token: str) -> Iterator[httpx.Client]:
    """A client of the API server with the token only."""
    record = json.loads(settings.cluster_record.read_text())
    context = ssl.create_default_context(cafile=record["certificate_authority"])
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}
    with httpx.Client(
        base_url=record["endpoint"], verify=context, trust_env=False, timeout=20, headers=headers
    ) as client:
        yield client


def test_calls_on_other_resources_are_denied(identities: Identities, figure: Figure) -> None:
    answers = {f"{each.who} {each.what} {each.arguments}": each.answer(identities, {}) for each in CASES}
    allowed = {call: code for call, code in answers.items() if code not in DENIED}
    figure("forbidden calls to AWS are denied", f"{len(answers) - len(allowed)} of {len(CASES)}")
    assert allowed == {}


def test_same_calls_on_own_resources_are_allowed(identities: Identities, figure: Figure) -> None:
    controls = [each for each in CASES if each.own is not None]
    answers = {f"{each.who} {each.what} {each.own}": each.answer(identities, each.own or {}) for each in controls}
    s3, logs = root("s3"), root("logs")
    for key in ("privilege-test", OWN_ARTIFACT):
        s3.delete_object(Bucket=identities.outputs["ArtifactBucketName"], Key=key)
    logs.delete_log_stream(logGroupName=BUILDS, logStreamName="privilege-test")
    denied = {call: code for call, code in answers.items() if code}
    figure(
        "the same calls on an identity's own resources are allowed", f"{len(answers) - len(denied)} of {len(controls)}"
    )
    assert denied == {}


def test_deployer_is_forbidden_everything_else(api: httpx.Client, figure: Figure) -> None:
    answers = {f"{method} {path}": api.request(method, path, content="{}") for method, path in FORBIDDEN}
    wrong = {call: answer.text for call, answer in answers.items() if answer.status_code != 403}
    figure("forbidden calls to the cluster are denied", f"{len(answers) - len(wrong)} of {len(FORBIDDEN)}")
    assert wrong == {}
    said = [answer.json()["message"] for answer in answers.values()]
    assert [message for message in said if 'User "build" cannot' not in message] == []
    until(lambda: api.get(ALLOWED[-1]).status_code == 200, 120, "the release that the stack's creation started")
    controls = {path: api.get(path).status_code for path in ALLOWED}
    assert set(controls.values()) == {200}, controls


def test_deployer_may_not_impersonate(api: httpx.Client) -> None:
    for headers in (
        {"Impersonate-User": "admin"},
        {"Impersonate-User": "build", "Impersonate-Group": "system:masters"},
    ):
        answer = api.get("/api/v1/nodes", headers=headers)
        assert (answer.status_code, "cannot impersonate" in answer.text) == (403, True)


def test_deployer_has_exactly_these_permissions(token: str) -> None:
    record = json.loads(settings.cluster_record.read_text())
    command = [
        str(settings.bin / "kubectl"), "--kubeconfig=/dev/null", f"--server={record['endpoint']}", f"--token={token}",
        f"--certificate-authority={record['certificate_authority']}", f"--namespace={NAMESPACE}",
        "auth", "can-i", "--list", "--no-headers",
    ]  # fmt: skip
    # The empty environment leaves out the machine's own proxy.
    done = subprocess.run(
        command, env={"HOME": "/nonexistent"}, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    lines = sorted(re.sub(r" {2,}", " ", line).strip() for line in done.stdout.splitlines())
    common = [line for line in lines if line.startswith(("[", "selfsubject"))]
    assert "\n".join(line for line in lines if line not in common) + "\n" == CAN_I
    assert all("[get]" in line or line.startswith("selfsubject") for line in common)
