"""The names of one learner's setup, most of them the defaults of settings.sh, and a made-up token."""

ACCOUNT = "111122223333"
REGION = "us-east-2"
STACK = "aws-pipeline"
CLUSTER = "eksctl-demo"
NAMESPACE = "hello-world"
#: The Deployment, the Service and the HorizontalPodAutoscaler of deployment.yml.
APP = "hello-world"
ROLE, OTHER_ROLE = "UdacityFlaskDeployCBKubectlRole", "OtherKubectlRole"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/{ROLE}"
CONNECTION = f"arn:aws:codeconnections:{REGION}:{ACCOUNT}:connection/01234567-89ab-cdef-0123-456789abcdef"
#: Of a connection from before the service's new name, which AWS keeps: "Connections rename" in the Developer Tools guide.
OLD_CONNECTION = CONNECTION.replace("codeconnections", "codestar-connections")
#: The image registries of the partitions: those of the United States, of China and of the European sovereign cloud. Their
#: suffixes are those of botocore's partitions.json.
ECR_HOSTS = [
    f"{ACCOUNT}.dkr.ecr.us-gov-west-1.amazonaws.com",
    f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn",
    f"{ACCOUNT}.dkr.ecr.eusc-de-east-1.amazonaws.eu",
]
#: Has the form of a GitHub token.
TOKEN = "ghp_" + "0123456789abcdef" * 2 + "0123"
