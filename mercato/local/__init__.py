"""The embedded stack: the real PostgreSQL, Valkey and Kafka, and the supervisor that runs the mesh on one machine.

Nothing here needs Docker, root or an installed Java: the servers come as wheels, Kafka's jars from Maven's repository.
"""
