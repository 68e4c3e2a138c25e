"""How Raysweep connects to an API server: from kubeconfig files, flags and the environment to sessions that carry an identity."""
