"""A real Kubernetes cluster inside the machine, in EKS's place: a control plane and nodes in network namespaces."""
