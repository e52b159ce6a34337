"""The services: one folder, one process, one schema each; they know one another by contract and topic only."""
