"""The names and values that the tests use for one learner's setup: what settings.sh gives, and made-up secrets."""

ACCOUNT = "111122223333"
REGION = "us-east-2"
STACK = "aws-pipeline"
CLUSTER = "eksctl-demo"
NAMESPACE = "hello-world"
ROLE, OTHER_ROLE = "UdacityFlaskDeployCBKubectlRole", "OtherKubectlRole"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/{ROLE}"
CONNECTION = f"arn:aws:codeconnections:{REGION}:{ACCOUNT}:connection/01234567-89ab-cdef-0123-456789abcdef"
#: Looks like a GitHub token and is none.
TOKEN = "ghp_" + "0123456789abcdef" * 2 + "0123"
