"""The words of the catalogue, as far as a search may be for them."""

from collections.abc import Collection
from typing import Any, LiteralString

from psycopg import Connection

from services.product import search

# In the order of the words: two transactions that learn the same ones wait for each other instead of deadlocking.
LEARN: LiteralString = """
    insert into word (spelling)
    select distinct s.spelling
    from unnest(%s::text[]) as t (given),
         unnest(tsvector_to_array(to_tsvector('catalog.spelled', t.given))) as s (spelling)
    where length(s.spelling) between 3 and 40
      and not exists (select from word w where w.spelling = s.spelling collate "C")
    order by s.spelling
    on conflict do nothing
"""


def learn(connection: Connection[Any], texts: Collection[str]) -> None:
    """Let who mistypes a word of these texts be led to it."""
    # Split here: of the thousand texts of an import's message there are a few hundred different words.
    connection.execute(LEARN, [list(search.words(" ".join(set(texts))))])
