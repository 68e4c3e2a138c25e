"""Connections to an API server: kubeconfig files, flags, identities, proxies and sessions."""
