"""Services that the executor leaves out while messages come."""

from __future__ import annotations

import time
from typing import Any

from ros_harness import Peer, new_domain
from std_srvs.srv import Trigger

from gnesf_ros.seldom import Gate, SeldomGroup


class Entity:
    """Stands for a service, of which the group asks nothing."""


def answer(request: Any, response: Any) -> Any:
    response.success = True
    return response


def test_a_request_waits_for_the_gate_and_no_longer() -> None:
    domain, gate = new_domain(), Gate()
    server, client = Peer(domain), Peer(domain)
    try:
        server.node.create_service(Trigger, "/ask", answer)
        SeldomGroup(gate).take_in(server.node)
        assert client.call(Trigger, "/ask").success
        gate.shut()
        time.sleep(0.5)  # the round that is on, and a last one
        late = client.node.create_client(Trigger, "/ask").call_async(Trigger.Request())
        time.sleep(1.0)
        assert not late.done()
        gate.open()
        client.wait(late.done, "the answer")
        assert late.result().success
    finally:
        client.close()
        server.close()


def test_what_was_let_into_a_wait_gets_through_it() -> None:
    """Asked before the wait with the gate open and after it with the gate shut, the group says yes both times."""
    gate, entity, other = Gate(), Entity(), Entity()
    group = SeldomGroup(gate)
    for known in (entity, other):
        group.add_entity(known)
    assert group.can_execute(entity)
    gate.shut()
    assert group.can_execute(entity)
    assert not group.can_execute(entity)
    assert group.beginning_execution(entity)
    gate.open()
    assert not group.can_execute(other), "one at a time"
    group.ending_execution(entity)
    assert group.can_execute(entity)
