"""Kept replies: how much memory they take, and who waits for one that is under way."""

import asyncio

from gateway.keeping import KeptReply, Replies

KEY = (b"/a", b"")


def reply(body: bytes = b"x" * 5000) -> KeptReply:
    return KeptReply.of(body, "1", '"1"', [], "/a", ["product"], 100.0, 300.0)


def test_a_reply_that_was_compressed_while_it_was_kept_gives_back_what_it_took() -> None:
    replies = Replies(1_000_000, frozenset({"product"}))
    kept = reply()
    replies.keep(KEY, kept)
    kept.squeeze()
    replies.forget()
    assert replies.bytes == 0


def test_one_who_waits_and_goes_away_takes_the_reply_from_nobody() -> None:
    async def meet() -> tuple[object, object]:
        replies = Replies(1_000_000, frozenset({"product"}))

        async def wait() -> str:
            coming = replies.under_way(KEY)
            assert coming is not None
            await coming
            return "came"

        with replies.asking(KEY):
            leaving, staying = asyncio.create_task(wait()), asyncio.create_task(wait())
            await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.sleep(0)
        return await asyncio.gather(leaving, staying, return_exceptions=True)

    left, stayed = asyncio.run(meet())
    assert isinstance(left, asyncio.CancelledError)
    assert stayed == "came"
