"""The rules of our own that every contract keeps, checked on the compiled descriptors before stubs are made.

Every rpc carries a policy (nothing is reachable that nobody decided on), and what a policy names exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.message import Message

POLICY = "mercato.api.policy.v1.policy"


def check(image: Path, names: Sequence[str]) -> list[str]:
    """The complaints about the contracts called `names` in the FileDescriptorSet at `image`; none when all is well."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file:
        pool.Add(file)
    return [complaint for name in names for complaint in _of_file(pool, pool.FindFileByName(name))]


def _of_file(pool: descriptor_pool.DescriptorPool, file: FileDescriptor) -> Iterator[str]:
    """The complaints about one file's rpcs."""
    for service in file.services_by_name.values():
        for method in service.methods:
            for complaint in _of_method(pool, method):
                yield f"{file.name}: rpc {service.full_name}/{method.name} {complaint}"


def _of_method(pool: descriptor_pool.DescriptorPool, method: MethodDescriptor) -> Iterator[str]:
    """The complaints about one rpc."""
    policy = _policy(pool, method)
    if policy is None:
        yield f"has no policy: say who may call it with `option ({POLICY}) = {{…}};`"
        return
    if not policy.HasField("access") and not policy.callers:
        yield "has a policy that lets nobody call it: give it `access` or `callers`"
    if policy.idempotent_by and not _is_string(_find(method.input_type, policy.idempotent_by)):
        yield f'is idempotent_by "{policy.idempotent_by}", which is no string field of {method.input_type.name}'
    if policy.served_by and not _is_string(_find(method.input_type, policy.served_by)):
        yield f'is served_by "{policy.served_by}", which is no string field of {method.input_type.name}'
    for field in policy.access.own.fields:
        if not any(_find(message, field) for message in (method.input_type, *_resources(method))):
            yield f'has access.own.fields "{field}", but neither {method.input_type.name} nor a resource here has it'


def _policy(pool: descriptor_pool.DescriptorPool, method: MethodDescriptor) -> Any:
    """The policy option of an rpc, None when it has none.

    The options are parsed anew with a class of `pool`: those of the descriptor belong to the program's own pool, which
    does not know the option (the stubs that would tell it are not made yet).
    """
    options_class: type[Message] = message_factory.GetMessageClass(
        pool.FindMessageTypeByName("google.protobuf.MethodOptions")
    )
    options: Any = options_class.FromString(method.GetOptions().SerializeToString())
    option = pool.FindExtensionByName(POLICY)
    return options.Extensions[option] if options.HasExtension(option) else None


def _resources(method: MethodDescriptor) -> list[Descriptor]:
    """The messages that an rpc's resource may be: those of its file."""
    return list(method.containing_service.file.message_types_by_name.values())


def _find(message: Descriptor, path: str) -> FieldDescriptor | None:
    """The field at a dotted path (`product.id`) below a message."""
    head, _, rest = path.partition(".")
    field = message.fields_by_name.get(head)
    if field is None or not rest:
        return field
    return _find(field.message_type, rest) if field.message_type else None


def _is_string(field: FieldDescriptor | None) -> bool:
    return field is not None and field.type == FieldDescriptor.TYPE_STRING
