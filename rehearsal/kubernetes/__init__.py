"""A real Kubernetes cluster in place of EKS: a control plane and nodes in network namespaces of the sandbox."""
