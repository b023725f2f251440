"""The real host names that clients use, answered on this machine: STS, ECR, GitHub and dl.k8s.io behind one proxy and TLS."""
