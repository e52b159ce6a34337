"""The auditor: compares what all services, the books and the provider's log say, through a role that may only read."""
