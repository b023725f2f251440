"""The stack's template: what a learner may enter, what it creates, and that each role has only the rights it needs.

cfn-lint checks types and properties. It does not check service principals, compute types, secrets or the rights of a role,
so the expected ones are listed here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from rehearsal.codebuild.buildspec import parse
from tests.support.names import CONNECTION, OLD_CONNECTION, TOKEN
from tests.support.parameter_values import ACCEPTED, HOSTILE, REFUSED, SUPPORTED_IMAGES
from tests.support.paths import ROOT
from tests.support.template import FILE, TEMPLATE, refused, resources, text

PARAMETERS: dict[str, Any] = TEMPLATE["Parameters"]
BY_TOKEN = {"GitHubUser": "octocat", "GitHubToken": TOKEN}
BY_CONNECTION = {"GitHubUser": "octocat", "ConnectionArn": CONNECTION}
STAGED = {"Staging": "true"}
EVERYTHING = BY_TOKEN | {"ApprovalRequired": "true", "FailOnSeverity": "HIGH", "NotificationEmail": "ann@example.com"}

KUBECTL_ROLE = {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/${KubectlRoleName}"}
OBJECTS = {"Fn::Sub": "${ArtifactBucket.Arn}/*"}
BUCKET = {"Fn::GetAtt": ["ArtifactBucket", "Arn"]}
PROJECT = {"Fn::GetAtt": ["CodeBuildProject", "Arn"]}
REPOSITORY = {"Fn::GetAtt": ["EcrRepository", "Arn"]}
LOG = {"logs:CreateLogStream", "logs:PutLogEvents"}

#: Every right that the stack grants: role or policy, actions, resource.
RIGHTS = [
    ("TrustFunctionRole", LOG, {"Fn::GetAtt": ["TrustFunctionLogs", "Arn"]}),
    ("TrustFunctionPolicy", {"iam:GetRole", "iam:UpdateAssumeRolePolicy"}, KUBECTL_ROLE),
    ("TrustFunctionPolicy", {"s3:ListBucketVersions"}, BUCKET),
    ("TrustFunctionPolicy", {"s3:DeleteObject", "s3:DeleteObjectVersion"}, OBJECTS),
    ("CodeBuildRole", LOG, {"Fn::GetAtt": ["BuildLogs", "Arn"]}),
    ("CodeBuildRole", {"s3:GetObject", "s3:GetObjectVersion"}, OBJECTS),
    ("CodeBuildRole", {"s3:PutObject"}, {"Fn::Sub": "${ArtifactBucket.Arn}/*/Sbom/*"}),
    ("CodeBuildRole", {"ecr:GetAuthorizationToken"}, "*"),
    (
        "CodeBuildRole",
        {
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:CompleteLayerUpload",
            "ecr:GetDownloadUrlForLayer",
            "ecr:InitiateLayerUpload",
            "ecr:PutImage",
            "ecr:UploadLayerPart",
        },
        REPOSITORY,
    ),
    ("CodeBuildRole", {"sts:AssumeRole"}, KUBECTL_ROLE),
    ("PipelineRole", {"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"}, OBJECTS),
    ("PipelineRole", {"s3:GetBucketVersioning"}, BUCKET),
    ("PipelineRole", {"codebuild:StartBuild", "codebuild:BatchGetBuilds"}, PROJECT),
]
FINDINGS_RIGHT = ("CodeBuildRole", {"ecr:DescribeImageScanFindings"}, REPOSITORY)
CONNECTION_RIGHT = ("PipelineRole", {"codeconnections:UseConnection"}, {"Ref": "ConnectionArn"})

#: Who may assume each role, and under which condition.
ASSUMED_BY: dict[str, tuple[str, Any]] = {
    "TrustFunctionRole": ("lambda.amazonaws.com", None),
    "CodeBuildRole": (
        "codebuild.amazonaws.com",
        {
            "aws:SourceAccount": {"Ref": "AWS::AccountId"},
            "aws:SourceArn": {
                "Fn::Sub": "arn:${AWS::Partition}:codebuild:${AWS::Region}:${AWS::AccountId}:project/${AWS::StackName}"
            },
        },
    ),
    "PipelineRole": ("codepipeline.amazonaws.com", {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}),
}


def roles() -> dict[str, Any]:
    """Return the stack's roles."""
    return {name: each for name, each in TEMPLATE["Resources"].items() if each["Type"] == "AWS::IAM::Role"}


def as_list(value: Any) -> list[Any]:
    """Return a list; IAM accepts a single value instead of one."""
    return value if isinstance(value, list) else [value]


def rights(**given: str) -> list[tuple[str, frozenset[str], str]]:
    """Return each right that the stack grants with these parameters."""
    found = []
    for name, resource in resources(**given).items():
        properties = resource["Properties"]
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            documents.append(properties["PolicyDocument"])
        for statement in (statement for document in documents for statement in document["Statement"]):
            assert set(statement) <= {"Sid", "Effect", "Action", "Resource"}
            assert statement["Effect"] == "Allow"
            actions = frozenset(text(action, given) for action in as_list(statement["Action"]))
            found.append((name, actions, json.dumps(statement["Resource"])))
    return found


def expected(rows: list[tuple[str, set[str], Any]]) -> list[tuple[str, frozenset[str], str]]:
    """Return the listed rights in the form of ``rights``."""
    return [(name, frozenset(actions), json.dumps(resource)) for name, actions, resource in rows]


def shape(service: str, name: str) -> set[str]:
    """Return the values that an AWS API accepts, from its service model."""
    return set(botocore.session.get_session().get_service_model(service).shape_for(name).enum)


def test_cfn_lint_finds_nothing() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "cfn-lint"), "-i", "I", "--", str(FILE)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_template_fits_a_request() -> None:
    assert len(FILE.read_bytes()) <= 51_200, "CloudFormation's limit for template-body"


# --- Parameters ------------------------------------------------------------------------------------------------------


def test_parameters_and_their_defaults() -> None:
    assert {name: each.get("Default") for name, each in PARAMETERS.items()} == {
        "EksClusterName": "eksctl-demo",
        "AppNamespace": "hello-world",
        "GitSourceRepo": "aws_pipeline",
        "GitBranch": "master",
        "GitHubToken": "",
        "GitHubUser": None,
        "CodeBuildDockerImage": "aws/codebuild/standard:8.0",
        "KubectlRoleName": "UdacityFlaskDeployCBKubectlRole",
        "KubectlRoleId": "",
        "ConnectionArn": "",
        "Staging": "false",
        "ApprovalRequired": "false",
        "FailOnSeverity": "NONE",
        "NotificationEmail": "",
    }
    assert {each["Type"] for each in PARAMETERS.values()} == {"String"}


@pytest.mark.parametrize(
    ("parameter", "setting"),
    [
        ("EksClusterName", "CLUSTER_NAME"),
        ("AppNamespace", "APP_NAMESPACE"),
        ("KubectlRoleName", "KUBECTL_ROLE_NAME"),
        ("GitSourceRepo", "GITHUB_REPO"),
        ("GitBranch", "GITHUB_BRANCH"),
    ],
)
def test_defaults_equal_the_settings(parameter: str, setting: str, tmp_path: Path) -> None:
    (tmp_path / "settings.sh").write_bytes((ROOT / "settings.sh").read_bytes())  # without the checkout's origin
    script = f'source ./settings.sh && printf %s "${setting}"'
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == PARAMETERS[parameter]["Default"]


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_is_described_and_constrained(name: str) -> None:
    parameter = PARAMETERS[name]
    assert len(parameter["Description"]) > 20
    assert len(parameter["ConstraintDescription"]) > 10
    assert ("AllowedPattern" in parameter) != ("AllowedValues" in parameter)


@pytest.mark.parametrize("name", ACCEPTED)
def test_pattern_is_anchored_and_accepts_the_default(name: str) -> None:
    pattern = PARAMETERS[name]["AllowedPattern"]
    assert (pattern[0], pattern[-1]) == ("^", "$")
    assert "|" not in re.sub(r"\(.*\)", "", pattern), (
        "an alternative outside brackets would be anchored at only one end"
    )
    assert re.fullmatch(pattern, PARAMETERS[name].get("Default", "octocat"))


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in ACCEPTED for value in ACCEPTED[name]])
def test_pattern_accepts(name: str, value: str) -> None:
    assert re.fullmatch(PARAMETERS[name]["AllowedPattern"], value)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in REFUSED for value in REFUSED[name] + HOSTILE])
def test_pattern_rejects(name: str, value: str) -> None:
    assert not re.fullmatch(PARAMETERS[name]["AllowedPattern"], value)


def test_every_pattern_is_tested() -> None:
    patterns = {name for name, each in PARAMETERS.items() if "AllowedPattern" in each}
    assert patterns == set(ACCEPTED) == set(REFUSED)


def test_console_groups_and_labels_every_parameter_once() -> None:
    interface = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(grouped) == sorted(PARAMETERS)
    assert set(interface["ParameterLabels"]) == set(PARAMETERS)
    assert all(
        each["default"]
        for each in [*interface["ParameterLabels"].values(), *(g["Label"] for g in interface["ParameterGroups"])]
    )


def test_images_are_supported_and_match_their_processor() -> None:
    images = PARAMETERS["CodeBuildDockerImage"]["AllowedValues"]
    assert PARAMETERS["CodeBuildDockerImage"]["Default"] == images[0]
    for image in images:
        assert image in SUPPORTED_IMAGES
        environment = resources(**BY_TOKEN, CodeBuildDockerImage=image)["CodeBuildProject"]["Properties"]["Environment"]
        assert environment["Type"] == ("ARM_CONTAINER" if "aarch64" in image else "LINUX_CONTAINER")


def test_a_token_and_a_user_are_enough() -> None:
    without_default = {name for name, each in PARAMETERS.items() if "Default" not in each}
    assert without_default == {"GitHubUser"}
    assert refused(**BY_TOKEN) == []
    assert refused(**BY_CONNECTION) == []


def test_rejects_neither_or_both_ways_to_read_github() -> None:
    assert [text.split(".")[0] for text in refused(GitHubUser="octocat")] == ["Enter GitHubToken or ConnectionArn"]
    assert refused(**BY_TOKEN | BY_CONNECTION) == [
        "Enter only one of GitHubToken and ConnectionArn, and leave the other empty."
    ]


# --- Secrets ---------------------------------------------------------------------------------------------------------


def test_secrets_are_hidden_and_used_once() -> None:
    assert {name for name, each in PARAMETERS.items() if each.get("NoEcho")} == {"GitHubToken"}
    without_conditions = json.dumps([TEMPLATE["Resources"], TEMPLATE["Outputs"]])
    assert without_conditions.count("GitHubToken") == 1
    source = resources(**BY_TOKEN)["Pipeline"]["Properties"]["Stages"][0]["Actions"][0]
    assert source["Configuration"]["OAuthToken"] == {"Ref": "GitHubToken"}


def test_contains_no_secret_or_account_id() -> None:
    text = FILE.read_text(encoding="utf-8").replace("111122223333", "")
    assert not re.search(r"gh[pousr]_\w{10}|github_pat_\w|AKIA|\b[0-9a-f]{40}\b|\b\d{12}\b", text)


def test_webhook_has_its_own_secret() -> None:
    made = resources(**BY_TOKEN)
    webhook = made["Webhook"]["Properties"]
    assert webhook["Authentication"] == "GITHUB_HMAC"
    secret = {"Fn::Sub": "{{resolve:secretsmanager:${WebhookSecret}:SecretString}}"}
    assert webhook["AuthenticationConfiguration"] == {"SecretToken": secret}
    assert webhook["RegisterWithThirdParty"] is True
    assert webhook["Filters"] == [{"JsonPath": "$.ref", "MatchEquals": {"Fn::Sub": "refs/heads/${GitBranch}"}}]
    assert webhook["TargetPipeline"] == {"Ref": "Pipeline"}
    assert webhook["TargetPipelineVersion"] == {"Fn::GetAtt": ["Pipeline", "Version"]}
    assert webhook["TargetAction"] == made["Pipeline"]["Properties"]["Stages"][0]["Actions"][0]["Name"]
    generated = made["WebhookSecret"]["Properties"]["GenerateSecretString"]
    assert 32 <= generated["PasswordLength"] <= 100
    assert "SecretString" not in made["WebhookSecret"]["Properties"]


# --- Rights ----------------------------------------------------------------------------------------------------------


def test_rights_are_exactly_the_listed_ones() -> None:
    assert sorted(rights(**BY_TOKEN)) == sorted(expected(RIGHTS))
    assert sorted(rights(**BY_CONNECTION)) == sorted(expected([*RIGHTS, CONNECTION_RIGHT]))
    checked = BY_TOKEN | {"FailOnSeverity": "HIGH"}
    assert Counter(rights(**checked)) == Counter(expected([*RIGHTS, FINDINGS_RIGHT]))
    by_old = BY_CONNECTION | {"ConnectionArn": OLD_CONNECTION}
    old_right = ("PipelineRole", {"codestar-connections:UseConnection"}, {"Ref": "ConnectionArn"})
    assert sorted(rights(**by_old)) == sorted(expected([*RIGHTS, old_right])), (
        "the service of action and ARN are the same"
    )


def test_only_the_registry_login_has_no_resource() -> None:
    every = rights(**EVERYTHING)
    assert [sorted(actions) for _, actions, resource in every if json.loads(resource) == "*"] == [
        ["ecr:GetAuthorizationToken"]
    ]
    assert not [action for _, actions, _ in every for action in actions if "*" in action]


@pytest.mark.parametrize("name", roles())
def test_only_its_service_may_assume_a_role(name: str) -> None:
    service, condition = ASSUMED_BY[name]
    wanted = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    if condition:
        wanted["Condition"] = {"StringEquals": condition}
    assert roles()[name]["Properties"]["AssumeRolePolicyDocument"] == {"Version": "2012-10-17", "Statement": [wanted]}


def test_roles_have_no_other_rights() -> None:
    assert set(roles()) == set(ASSUMED_BY)
    assert not [name for name, each in roles().items() if "ManagedPolicyArns" in each["Properties"]]
    policies = [name for name, each in TEMPLATE["Resources"].items() if each["Type"] == "AWS::IAM::ManagedPolicy"]
    assert policies == ["TrustFunctionPolicy"]
    assert TEMPLATE["Resources"]["TrustFunctionPolicy"]["Properties"]["Roles"] == [{"Ref": "TrustFunctionRole"}]


def test_function_keeps_its_right_on_the_old_role_while_the_name_changes() -> None:
    """A changed description replaces the policy, and CloudFormation deletes the old one after the update."""
    assert "${KubectlRoleName}" in TEMPLATE["Resources"]["TrustFunctionPolicy"]["Properties"]["Description"]["Fn::Sub"]


# --- Resources -------------------------------------------------------------------------------------------------------


def test_builds_learn_of_the_severity_only_if_one_is_set() -> None:
    def given(**values: str) -> dict[str, Any]:
        project = resources(**BY_TOKEN, **values)["CodeBuildProject"]
        return {each["Name"]: each["Value"] for each in project["Properties"]["Environment"]["EnvironmentVariables"]}

    assert set(given(FailOnSeverity="HIGH")) - set(given()) == {"FAIL_ON_SEVERITY"}
    assert given(FailOnSeverity="HIGH")["FAIL_ON_SEVERITY"] == {"Ref": "FailOnSeverity"}
    assert set(given()) == {"ECR_REPOSITORY_URI", "EKS_CLUSTER_NAME", "APP_NAMESPACE", "EKS_KUBECTL_ROLE_ARN"}


def test_each_option_adds_only_its_resources() -> None:
    least = set(resources(**BY_CONNECTION))
    assert set(resources(**BY_TOKEN)) - least == {"Webhook", "WebhookSecret"}
    assert set(resources(**EVERYTHING)) - set(resources(**BY_TOKEN)) == {
        "NotificationTopic",
        "NotificationTopicPolicy",
        "NotificationRule",
    }
    assert set(resources(**EVERYTHING)) == set(TEMPLATE["Resources"])


@pytest.mark.parametrize(
    ("given", "stages"),
    [
        (BY_TOKEN, ["Source", "Build"]),
        (BY_CONNECTION, ["Source", "Build"]),
        (BY_TOKEN | {"ApprovalRequired": "true"}, ["Source", "Approve", "Build"]),
        (BY_CONNECTION | {"ApprovalRequired": "true"}, ["Source", "Approve", "Build"]),
        (BY_TOKEN | STAGED, ["Source", "Staging", "Production"]),
        (EVERYTHING | STAGED, ["Source", "Staging", "Approve", "Production"]),
    ],
)
def test_stages(given: dict[str, str], stages: list[str]) -> None:
    pipeline = resources(**given)["Pipeline"]["Properties"]
    assert pipeline["Name"] == {"Ref": "AWS::StackName"}, "the scripts ask for this name"
    assert [stage["Name"] for stage in pipeline["Stages"]] == stages
    assert all(len(stage["Actions"]) == 1 for stage in pipeline["Stages"])
    source = pipeline["Stages"][0]["Actions"][0]
    builds = [stage["Actions"][0] for stage in pipeline["Stages"] if stage["Name"] not in ("Source", "Approve")]
    for build in builds:
        assert build["InputArtifacts"] == source["OutputArtifacts"]
        assert build["ActionTypeId"] == {"Category": "Build", "Owner": "AWS", "Provider": "CodeBuild", "Version": "1"}
        assert build["Configuration"]["ProjectName"] == {"Ref": "CodeBuildProject"}
    assert (pipeline["PipelineType"], pipeline["ExecutionMode"]) == ("V2", "SUPERSEDED")
    assert pipeline["ArtifactStore"] == {"Type": "S3", "Location": {"Ref": "ArtifactBucket"}}
    assert pipeline["RoleArn"] == {"Fn::GetAtt": ["PipelineRole", "Arn"]}


def test_without_staging_one_action_builds_and_deploys() -> None:
    """An existing stack whose owner chooses nothing keeps its pipeline, which also keeps the bill of materials."""
    assert resources(**BY_TOKEN)["Pipeline"]["Properties"]["Stages"][1:] == [
        {
            "Name": "Build",
            "Actions": [
                {
                    "Name": "BuildAndDeploy",
                    "ActionTypeId": {"Category": "Build", "Owner": "AWS", "Provider": "CodeBuild", "Version": "1"},
                    "Configuration": {"ProjectName": {"Ref": "CodeBuildProject"}},
                    "InputArtifacts": [{"Name": "Source"}],
                    "OutputArtifacts": [{"Name": "Sbom"}],
                }
            ],
        }
    ]


def test_production_gets_the_image_of_staging() -> None:
    """Staging builds, for a namespace of its own; what it exports is in the namespace of variables that production reads."""
    _, staging, production = (
        each["Actions"][0] for each in resources(**BY_TOKEN, **STAGED)["Pipeline"]["Properties"]["Stages"]
    )
    project = {"ProjectName": {"Ref": "CodeBuildProject"}}
    namespace = {"Fn::Sub": '[{"name": "APP_NAMESPACE", "value": "${AppNamespace}-staging"}]'}
    assert (staging["OutputArtifacts"], production.get("OutputArtifacts")) == ([{"Name": "Sbom"}], None), (
        "it is the same image"
    )
    assert staging["Configuration"] == project | {"EnvironmentVariables": namespace}
    image = f'[{{"name": "IMAGE", "value": "#{{{staging["Namespace"]}.IMAGE}}"}}]'
    assert production["Configuration"] == project | {"EnvironmentVariables": image}
    buildspec = parse((ROOT / "buildspec.yml").read_text(encoding="utf-8"))
    assert "IMAGE" in buildspec.exported


def test_staging_adds_no_resource_and_no_right() -> None:
    changed = {
        name for name, each in resources(**BY_TOKEN, **STAGED).items() if each != resources(**BY_TOKEN).get(name)
    }
    assert changed == {"Pipeline"}


def test_source_by_token() -> None:
    action = resources(**BY_TOKEN)["Pipeline"]["Properties"]["Stages"][0]["Actions"][0]
    assert action["ActionTypeId"] == {"Category": "Source", "Owner": "ThirdParty", "Provider": "GitHub", "Version": "1"}
    assert action["Configuration"] == {
        "Owner": {"Ref": "GitHubUser"},
        "Repo": {"Ref": "GitSourceRepo"},
        "Branch": {"Ref": "GitBranch"},
        "OAuthToken": {"Ref": "GitHubToken"},
        "PollForSourceChanges": False,
    }


def test_source_by_connection() -> None:
    action = resources(**BY_CONNECTION)["Pipeline"]["Properties"]["Stages"][0]["Actions"][0]
    assert action["ActionTypeId"] == {
        "Category": "Source",
        "Owner": "AWS",
        "Provider": "CodeStarSourceConnection",
        "Version": "1",
    }
    assert action["Configuration"] == {
        "ConnectionArn": {"Ref": "ConnectionArn"},
        "FullRepositoryId": {"Fn::Sub": "${GitHubUser}/${GitSourceRepo}"},
        "BranchName": {"Ref": "GitBranch"},
        "OutputArtifactFormat": "CODE_ZIP",
        "DetectChanges": True,
    }


def test_approval_says_what_it_lets_through() -> None:
    for given, words in (({}, "build this commit"), (STAGED, "deploy to production what staging runs")):
        stages = {each["Name"]: each for each in resources(**EVERYTHING, **given)["Pipeline"]["Properties"]["Stages"]}
        assert words in stages["Approve"]["Actions"][0]["Configuration"]["CustomData"]


def test_approval_is_manual() -> None:
    action = resources(**EVERYTHING)["Pipeline"]["Properties"]["Stages"][1]["Actions"][0]
    assert action["ActionTypeId"] == {"Category": "Approval", "Owner": "AWS", "Provider": "Manual", "Version": "1"}
    assert action["Name"] == "Approve"


def test_project() -> None:
    project = resources(**BY_TOKEN)["CodeBuildProject"]["Properties"]
    environment = project["Environment"]
    assert environment["ComputeType"] in shape("codebuild", "ComputeType")
    assert environment["Type"] in shape("codebuild", "EnvironmentType")
    assert environment["PrivilegedMode"] is True
    assert environment["Image"] == {"Ref": "CodeBuildDockerImage"}
    assert project["Name"] == {"Ref": "AWS::StackName"}, "CodeBuildRole and the log group use this name"
    assert (project["Source"], project["Artifacts"]) == ({"Type": "CODEPIPELINE"}, {"Type": "CODEPIPELINE"})
    assert project["Cache"] == {"Type": "LOCAL", "Modes": ["LOCAL_DOCKER_LAYER_CACHE"]}
    assert project["LogsConfig"] == {"CloudWatchLogs": {"Status": "ENABLED", "GroupName": {"Ref": "BuildLogs"}}}
    assert project["ServiceRole"] == {"Fn::GetAtt": ["CodeBuildRole", "Arn"]}
    assert project["TimeoutInMinutes"] <= 60
    assert project["QueuedTimeoutInMinutes"] <= 60


def test_project_sets_the_buildspecs_variables() -> None:
    variables = resources(**BY_TOKEN)["CodeBuildProject"]["Properties"]["Environment"]["EnvironmentVariables"]
    given = {each["Name"]: each["Value"] for each in variables}
    assert given == {
        "ECR_REPOSITORY_URI": {"Fn::GetAtt": ["EcrRepository", "RepositoryUri"]},
        "EKS_CLUSTER_NAME": {"Ref": "EksClusterName"},
        "EKS_KUBECTL_ROLE_ARN": KUBECTL_ROLE,
        "APP_NAMESPACE": {"Ref": "AppNamespace"},
    }
    buildspec = (ROOT / "buildspec.yml").read_text(encoding="utf-8")
    given.pop("APP_NAMESPACE")  # deploy.sh reads it
    assert all(f"${name}" in buildspec or f"${{{name}" in buildspec for name in given)


def test_repository() -> None:
    repository = TEMPLATE["Resources"]["EcrRepository"]["Properties"]
    assert repository["ImageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    excluded = [
        each["ImageTagMutabilityExclusionFilterValue"] for each in repository["ImageTagMutabilityExclusionFilters"]
    ]
    assert excluded == ["cache", "files-*"]
    assert '"$ECR_REPOSITORY_URI:cache"' in (ROOT / "buildspec.yml").read_text(encoding="utf-8")
    assert "files-" in (ROOT / "scripts" / "build" / "content-tag.sh").read_text(encoding="utf-8")
    assert repository["EmptyOnDelete"] is True
    assert repository["EncryptionConfiguration"] == {"EncryptionType": "AES256"}, "KMS takes kms:RetireGrant to delete"
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
    assert "RepositoryName" not in repository, "it must be lower case, unlike a stack's name"
    rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert [(rule["rulePriority"], rule["selection"]["tagStatus"]) for rule in rules] == [(1, "untagged"), (2, "any")]
    assert [rule["action"] for rule in rules] == [{"type": "expire"}] * 2
    assert rules[0]["selection"] == {
        "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 1,
    }, "ECR accepts no number below 1, and an untagged image is of no more use"  # fmt: skip
    assert rules[1]["selection"] == {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 50}


def test_bucket_is_private_encrypted_versioned_and_expires_objects() -> None:
    bucket = TEMPLATE["Resources"]["ArtifactBucket"]["Properties"]
    assert bucket["PublicAccessBlockConfiguration"] == dict.fromkeys(
        ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"], True
    )
    encryption = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption == [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", 30)
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


def test_bucket_requires_tls() -> None:
    policy = TEMPLATE["Resources"]["ArtifactBucketPolicy"]["Properties"]
    assert policy["Bucket"] == {"Ref": "ArtifactBucket"}
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement == {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [BUCKET, OBJECTS],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def test_function_has_a_timeout_and_a_supported_runtime() -> None:
    function = TEMPLATE["Resources"]["TrustFunction"]["Properties"]
    custom = TEMPLATE["Resources"]["KubectlRoleTrust"]["Properties"]
    assert function["Runtime"] == "python3.14"
    assert function["Handler"] == "index.handler"
    assert 60 <= function["Timeout"] < custom["ServiceTimeout"] <= 300
    assert function["LoggingConfig"] == {"LogGroup": {"Ref": "TrustFunctionLogs"}}
    assert function["Role"] == {"Fn::GetAtt": ["TrustFunctionRole", "Arn"]}


def test_custom_resource_has_the_functions_properties() -> None:
    custom = TEMPLATE["Resources"]["KubectlRoleTrust"]["Properties"]
    assert {key: value for key, value in custom.items() if key != "ServiceTimeout"} == {
        "ServiceToken": {"Fn::GetAtt": ["TrustFunction", "Arn"]},
        "KubectlRoleName": {"Ref": "KubectlRoleName"},
        "KubectlRoleId": {"Ref": "KubectlRoleId"},
        "CodeBuildRoleArn": {"Fn::GetAtt": ["CodeBuildRole", "Arn"]},
        "ArtifactBucketName": {"Ref": "ArtifactBucket"},
    }


def test_creation_order() -> None:
    """The trust is in place before the first execution. On deletion, the pipeline goes before the bucket, rights last."""
    assert set(as_list(TEMPLATE["Resources"]["Pipeline"]["DependsOn"])) >= {"KubectlRoleTrust", "ArtifactBucketPolicy"}
    assert TEMPLATE["Resources"]["KubectlRoleTrust"]["DependsOn"] == "TrustFunctionPolicy"


@pytest.mark.parametrize(
    "name", [name for name, each in TEMPLATE["Resources"].items() if each["Type"] == "AWS::Logs::LogGroup"]
)
def test_logs_expire(name: str) -> None:
    assert TEMPLATE["Resources"][name]["Properties"]["RetentionInDays"] == 30


def test_nothing_outlives_the_stack() -> None:
    """Resources with data must be deleted explicitly; the other types have nothing to keep."""
    policies = {
        name: (each.get("DeletionPolicy"), each.get("UpdateReplacePolicy"))
        for name, each in TEMPLATE["Resources"].items()
    }
    assert {name for name, each in policies.items() if each == ("Delete", "Delete")} == {
        "EcrRepository",
        "ArtifactBucket",
        "TrustFunctionLogs",
        "BuildLogs",
        "WebhookSecret",
    }
    assert set(policies.values()) == {("Delete", "Delete"), (None, None)}


def test_notification() -> None:
    made = resources(**EVERYTHING)
    pattern = made["NotificationRule"]["Properties"]["EventPattern"]
    assert pattern["source"] == ["aws.codepipeline"]
    assert pattern["detail-type"] == ["CodePipeline Pipeline Execution State Change"]
    assert pattern["detail"] == {"state": ["FAILED", "SUCCEEDED"]}
    assert pattern["resources"] == [
        {"Fn::Sub": "arn:${AWS::Partition}:codepipeline:${AWS::Region}:${AWS::AccountId}:${Pipeline}"}
    ]
    assert made["NotificationTopic"]["Properties"]["Subscription"] == [
        {"Protocol": "email", "Endpoint": {"Ref": "NotificationEmail"}}
    ]
    (target,) = made["NotificationRule"]["Properties"]["Targets"]
    assert target["Arn"] == {"Ref": "NotificationTopic"}
    (statement,) = made["NotificationTopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": {"Ref": "NotificationTopic"},
    }


#: A pipeline's page in the console.
PAGE = "https://${{AWS::Region}}.${{Console}}/codesuite/codepipeline/pipelines/{}/view"
#: CodePipeline's event, from its user guide, "Monitoring CodePipeline events", without what is not used.
EVENT = {"detail": {"pipeline": "myPipeline", "execution-id": "12345678-1234", "state": "FAILED"}}


def said_by(text: dict[str, Any]) -> str:
    """Return the text of an ``Fn::Sub`` whose only variable of its own is the domain of the console."""
    said, variables = text["Fn::Sub"]
    assert variables == {"Console": {"Fn::FindInMap": ["Partition", {"Ref": "AWS::Partition"}, "Console"]}}
    return str(said)


def test_notification_says_what_failed_and_where_to_look() -> None:
    transformer = TEMPLATE["Resources"]["NotificationRule"]["Properties"]["Targets"][0]["InputTransformer"]
    said = said_by(transformer["InputTemplate"])
    for name, path in transformer["InputPathsMap"].items():
        detail, field = path.removeprefix("$.").split(".")
        said = said.replace(f"<{name}>", EVENT[detail][field])
    assert said == f'"Pipeline myPipeline: execution 12345678-1234 FAILED. {PAGE.format("myPipeline")}"'


def test_notification_is_one_quoted_line() -> None:
    """EventBridge accepts a quoted string or JSON as the template, without line breaks."""
    transformer = TEMPLATE["Resources"]["NotificationRule"]["Properties"]["Targets"][0]["InputTransformer"]
    pattern = transformer["InputTemplate"]["Fn::Sub"][0]
    assert re.fullmatch(r'"[^"\n]+"', pattern)
    assert set(re.findall(r"<([^>]+)>", pattern)) == set(transformer["InputPathsMap"])


def test_outputs() -> None:
    assert {name: output["Value"] for name, output in TEMPLATE["Outputs"].items() if name != "PipelineUrl"} == {
        "EcrRepositoryUri": {"Fn::GetAtt": ["EcrRepository", "RepositoryUri"]},
        "ArtifactBucketName": {"Ref": "ArtifactBucket"},
        "CodeBuildProjectName": {"Ref": "CodeBuildProject"},
        "PipelineName": {"Ref": "Pipeline"},
        "KubectlRoleArn": KUBECTL_ROLE,
        "CodeBuildRoleArn": {"Fn::GetAtt": ["CodeBuildRole", "Arn"]},
    }
    assert said_by(TEMPLATE["Outputs"]["PipelineUrl"]["Value"]) == PAGE.format("${Pipeline}") + "?region=${AWS::Region}"
    assert all(output["Description"] for output in TEMPLATE["Outputs"].values())


def test_each_suppressed_finding_has_a_reason() -> None:
    skipped = [
        (name, skip["id"], skip["comment"])
        for name, each in TEMPLATE["Resources"].items()
        for skip in each.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]
    assert {(name, check) for name, check, _ in skipped} == {
        ("EcrRepository", "CKV_AWS_51"),
        ("EcrRepository", "CKV_AWS_136"),
        ("ArtifactBucket", "CKV_AWS_18"),
        ("TrustFunction", "CKV_AWS_115"),
        ("TrustFunction", "CKV_AWS_116"),
        ("TrustFunction", "CKV_AWS_117"),
        ("TrustFunctionLogs", "CKV_AWS_158"),
        ("BuildLogs", "CKV_AWS_158"),
        ("WebhookSecret", "CKV_AWS_149"),
        ("NotificationTopic", "CKV_AWS_26"),
    }
    assert all(len(comment) > 40 for _, _, comment in skipped)
