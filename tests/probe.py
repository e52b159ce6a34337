"""A contract for tests of the chassis, and a servicer whose answers a test gives it.

It is written as a descriptor rather than compiled, so that no service's contract has to stand still for these tests.
"""

from collections.abc import Callable
from typing import Any

import google.api.annotations_pb2
import google.type.money_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.message_factory import GetMessageClass

import buf.validate.validate_pb2
import mercato.api.policy.v1.policy_pb2

USED = (buf.validate.validate_pb2, google.api.annotations_pb2, google.type.money_pb2, mercato.api.policy.v1.policy_pb2)
MESSAGES = 'input_type: ".mercato.api.probe.v1.Request" output_type: ".mercato.api.probe.v1.Reply"'
FILE = """
name: "probe.proto" package: "mercato.api.probe.v1" syntax: "proto3"
dependency: "buf/validate/validate.proto"
dependency: "google/api/annotations.proto"
dependency: "google/type/money.proto"
dependency: "mercato/api/policy/v1/policy.proto"
message_type {
  name: "Line"
  field { name: "quantity" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL json_name: "quantity"
          options { [buf.validate.field] { int32 { gte: 1 lte: 99 } } } }
}
message_type {
  name: "Request"
  field { name: "user_id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "userId" }
  field { name: "text" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "text" }
  field { name: "request_id" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "requestId" }
  field { name: "basket_lines" number: 4 type: TYPE_MESSAGE label: LABEL_REPEATED json_name: "basketLines"
          type_name: ".mercato.api.probe.v1.Line" }
  field { name: "payment_id" number: 5 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "paymentId" }
  field { name: "amount" number: 6 type: TYPE_MESSAGE label: LABEL_OPTIONAL json_name: "amount"
          type_name: ".google.type.Money" }
}
message_type {
  name: "Reply"
  field { name: "text" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "text" }
}
service {
  name: "ProbeService"
  method { name: "Read" MESSAGES options {
    idempotency_level: NO_SIDE_EFFECTS
    [google.api.http] { get: "/v1/read" }
    [mercato.api.policy.v1.policy] { access { anyone: true } together: true } } }
  method { name: "Count" MESSAGES options {
    [google.api.http] { get: "/v1/count" } [mercato.api.policy.v1.policy] { access { roles: WAREHOUSE } } } }
  method { name: "Pay" MESSAGES options {
    [google.api.http] { post: "/v1/pay" body: "*" }
    [mercato.api.policy.v1.policy] { access { roles: FINANCE } } } }
  method { name: "Mine" MESSAGES options {
    [google.api.http] { get: "/v1/mine" }
    [mercato.api.policy.v1.policy] { access { roles: SUPPORT own { fields: "user_id" } } together: true } } }
  method { name: "Make" MESSAGES options {
    [google.api.http] { post: "/v1/make" body: "*" }
    [mercato.api.policy.v1.policy] {
      access { own { roles: GUEST roles: CUSTOMER } } callers: ORDER
      idempotent_by: "request_id" key_required: true together: true } } }
  method { name: "Step" MESSAGES options {
    [mercato.api.policy.v1.policy] { callers: ORDER idempotent_by: "text" together: true } } }
  method { name: "Once" MESSAGES options {
    [mercato.api.policy.v1.policy] { callers: ORDER } } }
  method { name: "Take" MESSAGES options {
    [mercato.api.policy.v1.policy] {
      callers: ORDER together: true granted { fields: "payment_id" amount: "amount" } } } }
  method { name: "Pour" MESSAGES
    client_streaming: true options {
    [google.api.http] { post: "/v1/pour" body: "*" } [mercato.api.policy.v1.policy] { access { roles: CATALOG } } } }
}
"""
DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    text_format.Parse(FILE.replace("MESSAGES", MESSAGES), descriptor_pb2.FileDescriptorProto()).SerializeToString()
)
SERVICE = DESCRIPTOR.services_by_name["ProbeService"]
Line: Any = GetMessageClass(DESCRIPTOR.message_types_by_name["Line"])
Request: Any = GetMessageClass(DESCRIPTOR.message_types_by_name["Request"])
Reply: Any = GetMessageClass(DESCRIPTOR.message_types_by_name["Reply"])


class ProbeServiceStub:
    """What a generated stub looks like to a type checker."""

    Read: Any
    Count: Any
    Pay: Any
    Mine: Any
    Make: Any
    Step: Any
    Once: Any
    Take: Any
    Pour: Any

    def __init__(self, _channel: Any) -> None:
        raise AssertionError("the chassis has stubs of its own")


class Probe:
    """Answers every rpc by the function that it was made with, given the request."""

    contract = SERVICE

    def __init__(self, answer: Callable[[Any], object] = lambda request: request.text) -> None:
        self._answer = answer
        self.Read = self.Count = self.Pay = self.Mine = self.Make = self.Step = self.Once = self._reply
        self.Take = self.Pour = self._reply

    def _reply(self, request: Any, _context: Any) -> Any:
        return Reply(text=str(self._answer(request)))
