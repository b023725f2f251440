"""docs/policies/cluster.json is what eksctl needs for the commands of the tutorial, and nothing else.

What eksctl calls itself is listed by its source (0.231.0, https://github.com/eksctl-io/eksctl). What CloudFormation needs
for eksctl's stacks is AWS's own list, as in rehearsal/emulator/caller_rights.py. eksctl itself was not run.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from rehearsal.emulator import service_reference
from rehearsal.emulator.caller_rights import permissions
from tests.support.fixtures import Figure
from tests.support.names import ACCOUNT, CLUSTER, REGION
from tests.support.policies import LEARNER, statements

ACTIONS = {action for statement in statements(LEARNER["cluster"]) for action in statement["Action"]}

#: The resources of the stacks of a cluster and its managed node group (pkg/cfn/builder), and how CloudFormation handles
#: them. eksctl upgrades a node group by an update of its stack.
STACKS = {
    "AWS::EC2::InternetGateway": ("create", "read", "delete"),
    "AWS::EC2::LaunchTemplate": ("create", "read", "update", "delete"),
    "AWS::EC2::Route": ("create", "read", "delete"),
    "AWS::EC2::RouteTable": ("create", "read", "delete"),
    "AWS::EC2::SecurityGroup": ("create", "read", "delete"),
    "AWS::EC2::SecurityGroupIngress": ("create", "read", "delete"),
    "AWS::EC2::Subnet": ("create", "read", "delete"),
    "AWS::EC2::SubnetRouteTableAssociation": ("create", "read", "delete"),
    "AWS::EC2::VPC": ("create", "read", "delete"),
    "AWS::EC2::VPCGatewayAttachment": ("create", "read", "delete"),
    "AWS::EKS::Cluster": ("create", "read", "delete"),
    "AWS::EKS::Nodegroup": ("create", "read", "update", "delete"),
    "AWS::IAM::Role": ("create", "read", "delete"),
}
#: What these handlers do only for properties that eksctl does not set here.
NOT_SET = {
    "ec2:*tachVpnGateway": "a VPN gateway in place of the internet gateway",
    "ec2:CreateVpcEncryptionControl": "encryption control of the VPC",
    "eks:CreateAccessEntry": "EKS Auto Mode",
    "eks:UntagResource": "a tag that is removed",
    "iam:*InstanceProfile": "EKS Auto Mode",
    "iam:DeleteRolePolicy": "a policy in the role",
    "iam:PutRolePolicy": "a policy in the role",
    "kms:*": "a customer's key for secrets",
}
#: What eksctl calls itself, and the file in pkg/ with the call.
CALLS = {
    "cloudformation:CreateChangeSet": "cfn/manager/api.go: upgrade nodegroup",
    "cloudformation:CreateStack": "cfn/manager/api.go: create cluster, create nodegroup",
    "cloudformation:DeleteStack": "cfn/manager/api.go: delete cluster",
    "cloudformation:DescribeChangeSet": "cfn/manager/waiters.go",
    "cloudformation:DescribeStackEvents": "cfn/manager/api.go: a stack that failed",
    "cloudformation:DescribeStackResource": "cfn/manager/nodegroup.go",
    "cloudformation:DescribeStackResources": "cfn/manager/nodegroup.go",
    "cloudformation:DescribeStacks": "cfn/manager/api.go",
    "cloudformation:ExecuteChangeSet": "cfn/manager/api.go: upgrade nodegroup",
    "cloudformation:GetTemplate": "cfn/manager/template.go: upgrade cluster, upgrade nodegroup",
    "cloudformation:ListStacks": "cfn/manager/api.go",
    "cloudformation:TagResource": "cfn/manager/api.go: the stacks have tags",
    "ec2:DeleteNetworkInterface": "vpc/cleanup.go: delete cluster",
    "ec2:DeleteSecurityGroup": "elb/cleanup.go: delete cluster",
    "ec2:DescribeAvailabilityZones": "az/az.go",
    "ec2:DescribeInstanceTypeOfferings": "az/az.go",
    "ec2:DescribeKeyPairs": "ssh/client/ssh.go: delete cluster",
    "ec2:DescribeNetworkInterfaces": "vpc/cleanup.go: delete cluster",
    "ec2:DescribeSecurityGroupRules": "actions/nodegroup/create.go",
    "ec2:DescribeSecurityGroups": "elb/cleanup.go: delete cluster",
    "ec2:DescribeSubnets": "vpc/vpc.go",
    "ec2:DescribeVpcs": "vpc/vpc.go",
    "eks:CreateAddon": "actions/addon/create.go",
    "eks:DeleteAddon": "actions/cluster/delete.go: vpc-cni, before the nodes",
    "eks:DescribeAddon": "actions/addon/get.go",
    "eks:DescribeAddonConfiguration": "actions/addon/create.go",
    "eks:DescribeAddonVersions": "actions/addon/describe_versions.go",
    "eks:DescribeCluster": "eks/eks.go",
    "eks:DescribeClusterVersions": "eks/versions_manager.go",
    "eks:DescribeNodegroup": "actions/nodegroup/get.go, upgrade.go",
    "eks:DescribeUpdate": "eks/waiter/waiter.go: upgrade cluster",
    "eks:ListAddons": "actions/addon/get.go",
    "eks:ListClusters": "actions/cluster/get.go",
    "eks:ListFargateProfiles": "actions/cluster/delete.go",
    "eks:ListNodegroups": "actions/nodegroup/get.go",
    "eks:ListPodIdentityAssociations": "actions/podidentityassociation/getter.go: delete cluster",
    "eks:UpdateAddon": "actions/addon/update.go",
    "eks:UpdateClusterVersion": "eks/update.go: upgrade cluster",
    "elasticloadbalancing:DescribeLoadBalancers": "elb/cleanup.go: delete cluster",
    "iam:GetOpenIDConnectProvider": "iam/oidc/api.go: create addon and update addon fail without it",
    "ssm:GetParameter": "actions/nodegroup/upgrade.go: the newest image of the nodes",
}


def handled(*types: str) -> set[str]:
    """Return the actions that IAM knows of those that CloudFormation needs for the stacks."""
    listed = {action for name in types for handler in STACKS[name] for action in permissions(name, handler)}
    return {action for action in listed if service_reference.details(action)}


def is_set(action: str) -> bool:
    return not any(fnmatchcase(action, pattern) for pattern in NOT_SET)


def test_cluster_policy_is_what_eksctl_and_its_stacks_need(figure: Figure) -> None:
    needed = {action for action in handled(*STACKS) if is_set(action)} | set(CALLS)
    figure(
        "docs/policies/cluster.json has exactly what eksctl and its stacks need",
        f"{len(needed & ACTIONS)} of {len(needed | ACTIONS)} actions",
    )
    assert needed - ACTIONS == set()
    assert ACTIONS - needed == set()


@pytest.mark.parametrize("pattern", NOT_SET)
def test_every_exception_leaves_something_out(pattern: str) -> None:
    assert [action for action in handled(*STACKS) if fnmatchcase(action, pattern)]


@pytest.mark.parametrize("name", STACKS)
def test_every_type_of_the_stacks_has_a_schema(name: str) -> None:
    assert handled(name)


def test_only_the_cluster_of_settings_can_be_changed() -> None:
    named = [
        resource
        for statement in statements(LEARNER["cluster"])
        for resource in statement["Resource"]
        if resource.startswith(("arn:aws:cloudformation:", "arn:aws:eks:"))
    ]
    eks, stacks = f"arn:aws:eks:{REGION}:{ACCOUNT}", f"arn:aws:cloudformation:{REGION}:{ACCOUNT}"
    assert sorted(named) == [
        f"{stacks}:stack/eksctl-{CLUSTER}-*",
        *(f"{eks}:{kind}" for kind in (f"addon/{CLUSTER}/*", f"cluster/{CLUSTER}", f"nodegroup/{CLUSTER}/*")),
    ]


def test_roles_get_only_eks_policies() -> None:
    (statement,) = [each for each in statements(LEARNER["cluster"]) if "iam:AttachRolePolicy" in each["Action"]]
    attached = statement["Condition"]["ArnEquals"]["iam:PolicyARN"]
    # pkg/cfn/builder/iam.go and iam_helper.go: the service role's, and those of a managed node group's role.
    assert sorted(each.removeprefix("arn:aws:iam::aws:policy/") for each in attached) == [
        "AmazonEC2ContainerRegistryPullOnly",
        "AmazonEKSClusterPolicy",
        "AmazonEKSVPCResourceController",
        "AmazonEKSWorkerNodePolicy",
        "AmazonEKS_CNI_Policy",
        "AmazonSSMManagedInstanceCore",
    ]
    assert "iam:PutRolePolicy" not in ACTIONS
