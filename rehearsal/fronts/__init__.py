"""STS, ECR, GitHub and dl.k8s.io under their real host names, behind one proxy and one TLS listener."""
