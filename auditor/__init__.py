"""The auditor: compares what all services, the books and the provider's log say, through a role that may only read.

    from auditor.mesh import audit

    report = audit(database_url, provider="http://127.0.0.1:4242", provider_key="sk_test_…", grace=timedelta(0))
    assert report.clean, [str(finding) for finding in report.findings]

`database_url` names the one database that holds all schemas, as `mercato_auditor` or any role that may read them;
`provider` is the simulator's address, or the path of its log where it is at rest; without it what is compared with the
provider is passed over, and so is Kafka without `bootstrap`. `grace` is how long something may be on its way: none for
a shop that has come to rest, half a minute for one that is running. `report.findings` names rule, aggregate, detail and
repair of each; `report.count` counts also those of a rule beyond the first hundred, which are not told. One who audits
again and again keeps an `Auditor`: it reads anew only what has changed.

The rules in SQL are `audits/`; what SQL cannot read it is given as tables for the run: orders from their documents
(`orders.py`), the provider's log (`provider.py`), Kafka's topics (`topics.py`).
"""
