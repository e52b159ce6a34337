"""Operations: how a service does, and what only people can put right, behind `mercato.api.ops.v1.OpsService`.

Every service serves it over what it consists of anyway: its database, its readers, the work that it says is stuck. Any
process of a service may answer: what is told lies in the database, and redrives hold locks there.
"""
