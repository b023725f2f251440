"""The reader's identity: an ordinary IAM user whose only rights are those that the tutorial asks a reader to have."""

from __future__ import annotations

import json
from collections.abc import Mapping

from rehearsal.aws.client import root, wait_until_ready
from rehearsal.settings import settings

USER = "reader"
POLICY = settings.root / "scripts" / "reader-policy.json"
#: The cluster of settings.sh, by whose name the policy of POLICY goes too.
CLUSTER = "eksctl-demo"
#: What the stand-in of eksctl calls, and no more; on AWS a reader gives themselves eksctl's own minimum policies.
EKSCTL = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": [
                "cloudformation:DeleteStack",
                "cloudformation:DescribeStackEvents",
                "cloudformation:DescribeStacks",
                "eks:CreateCluster",
                "eks:DeleteCluster",
                "eks:DescribeCluster",
                "iam:CreateRole",
                "iam:DeleteRole",
                "iam:GetRole",
                "iam:PassRole",
            ],
            "Resource": [
                f"arn:aws:cloudformation:{settings.region}:{settings.account}:stack/eksctl-{CLUSTER}-*",
                f"arn:aws:eks:{settings.region}:{settings.account}:cluster/{CLUSTER}",
                f"arn:aws:iam::{settings.account}:role/eksctl-{CLUSTER}-*",
            ],
        }
    ],
}


def create() -> Mapping[str, str]:
    """Wait for AWS, make the user with the policy of ``POLICY`` and return an access key of its own.

    Raises:
        TimeoutError: AWS does not answer.
        botocore.exceptions.ClientError: IAM refuses the policy.
    """
    wait_until_ready()
    iam = root("iam")
    # The file is what a person would paste, so the account in it may be a placeholder.
    document = json.loads(POLICY.read_text(encoding="utf-8").replace("<ACCOUNT_ID>", settings.account))
    iam.create_user(UserName=USER)
    policy = iam.create_policy(PolicyName=USER, PolicyDocument=json.dumps(document))["Policy"]
    iam.attach_user_policy(UserName=USER, PolicyArn=policy["Arn"])
    iam.put_user_policy(UserName=USER, PolicyName="eksctl", PolicyDocument=json.dumps(EKSCTL))
    key: Mapping[str, str] = iam.create_access_key(UserName=USER)["AccessKey"]
    return key
