"""The nemesis: people use a whole mesh while processes and connections fail; then their memory is held against it.

The schedule of faults is drawn from a seed before anything starts. Everybody writes down what they asked for and what
they heard. When the time is over everything is healed, what stayed unknown is asked again with its key, the mesh comes
to rest or has failed; then the history, the databases, Kafka and the provider's own log must tell the same story.
"""
