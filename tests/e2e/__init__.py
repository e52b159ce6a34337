"""The whole mesh, over HTTP and gRPC: a package, so that the mesh ends with it."""
