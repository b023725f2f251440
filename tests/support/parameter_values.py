"""Values that the template's parameters accept and reject; settings.sh must agree on each of them."""

from __future__ import annotations

from tests.support.names import CONNECTION, OLD_CONNECTION, TOKEN

#: What AWS maintained in November 2026: github.com/aws/aws-codebuild-docker-images.
SUPPORTED_IMAGES = {
    "aws/codebuild/standard:7.0",
    "aws/codebuild/standard:8.0",
    "aws/codebuild/amazonlinux-x86_64-standard:5.0",
    "aws/codebuild/amazonlinux-x86_64-standard:6.0",
    "aws/codebuild/amazonlinux-aarch64-standard:3.0",
    "aws/codebuild/amazonlinux-aarch64-standard:4.0",
}

#: A region of each partition that has EKS and that learners can have an account in.
PARTITIONS = {"eu-south-2": "aws", "us-gov-west-1": "aws-us-gov", "cn-north-1": "aws-cn", "eusc-de-east-1": "aws-eusc"}

ACCEPTED = {
    "EksClusterName": ["eksctl-demo", "A", "0", "1_2-x", "a" * 100],
    "AppNamespace": ["hello-world", "a", "0-x", "defaults", "a" * 63],
    "GitSourceRepo": ["aws_pipeline", "a.b-c_D", "x", "0.0", "a" * 100, "-x", ".github", "..."],
    "GitBranch": [
        "master",
        "release/1.2",
        "feature/#12",
        "#12-fix",
        "dependabot/pip/flask-3.1.3",
        "user@fix+1",
        "v1",
        "0.0",
        "a=b",
        "50%,now!",
        "@a",
        "a" * 200,
    ],
    "GitHubToken": ["", TOKEN, "github_pat_" + "a_" * 40, "0123456789abcdef" * 2 + "01234567"],
    "GitHubUser": ["octocat", "a", "0day", "a-b", "a--b", "a-", "Acme_corp", "a" * 39],
    "KubectlRoleName": ["UdacityFlaskDeployCBKubectlRole", "a", "0", "x_+=,.@-", "@", "a" * 64],
    "KubectlRoleId": ["", "AROA0123456789ABCDEFG"],
    "ConnectionArn": [
        "",
        CONNECTION,
        CONNECTION.replace("111122223333", "012345678901"),
        CONNECTION.replace("arn:aws:", "arn:aws-us-gov:"),
        OLD_CONNECTION,
    ],
    "NotificationEmail": ["", "ann@example.com", "a.b+c@sub.example.co.uk", "a" * 64 + "@example.com"],
}
HOSTILE = [
    " ",
    "a b",
    "a\nb",
    "$(id)",
    "`id`",
    "a;b",
    "a'b",
    'a"b',
    "a|b",
    "ä",
    "a\0b",
    "<ACCOUNT_ID>",
    "-" + "x" * 300,
]
REFUSED = {
    "EksClusterName": ["", "-a", "_a", "a.b", "a/b", "a" * 101, "arn:aws:eks:us-east-2:1:cluster/a"],
    "AppNamespace": ["", "default", "kube-system", "-a", "a-", "A", "a.b", "a_b", "a" * 64],
    "GitSourceRepo": ["", "octocat/aws_pipeline", "https://github.com/a/b", ".", "..", ".git", "a.git", "a" * 101],
    "GitBranch": [
        "",
        "-x",
        "/x",
        "x/",
        "a..b",
        "a//b",
        "a.",
        "x.lock",
        "x.lock/y",
        "@",
        "{Branch}",
        "a~1",
        "a^",
        "a:b",
        "a@{1}",
        "a/.b",
        "a\\b",
        "a" * 201,
    ],
    "GitHubToken": ["short", "a" * 256, TOKEN + " ", "ghp_" + "*" * 36, TOKEN + "\n"],
    "GitHubUser": [
        "",
        "-a",
        "a.b",
        "a" * 40,
        "-".join("a" * 21),
        "octocat/repo",
        "https://github.com/octocat",
    ],
    "KubectlRoleName": ["", "-x", "a/b", "a:b", "a" * 65, "arn:aws:iam::111122223333:role/a"],
    "KubectlRoleId": ["AROA", "aroa0123456789abcdefg", "A" * 129, "arn:aws:iam::111122223333:role/a"],
    "ConnectionArn": [
        CONNECTION.replace("codeconnections", "codestar-notifications"),
        CONNECTION.replace("111122223333", "1111"),
        CONNECTION.replace("connection/", "host/"),
        CONNECTION + "x",
        "connection/1",
    ],
    "NotificationEmail": [
        "ann",
        "ann@",
        "@example.com",
        "ann@localhost",
        "a@b.c,d@e.f",
        "ann@exa mple.com",
        "a" * 65 + "@b.c",
    ],
}
