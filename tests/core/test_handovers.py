"""A worker that ends between registering its caller and replying leaves no registration behind."""

from __future__ import annotations

from tests.core.reference_model import Call, World


def test_a_giver_that_dies_before_its_reply() -> None:
    world = World(3)
    owner, giver, caller = world.processes.values()
    object_id = owner.put(())
    owner.call(giver.address, (object_id,))
    caller.call(giver.address, ())
    world.deliver(owner.address, giver.address, 0)
    world.deliver(caller.address, giver.address, 0)
    number = next(number for number, call in giver.running.items() if call.caller == caller.address)
    giver.finish(number, (object_id,), keep=False)
    world.deliver(giver.address, owner.address, 0)
    assert owner.table.table[object_id].borrowers == {caller.address: 1}
    giver.alive = False
    owner.drop(object_id)
    owner.heard_of_death(giver.address)
    assert object_id in owner.contents, "the caller may hold it, for all the owner knows"
    world.calm_down()
    assert object_id not in owner.contents
    assert not owner.table.table and not caller.table.table


def test_a_giver_that_dies_after_its_reply() -> None:
    world = World(3)
    owner, giver, caller = world.processes.values()
    object_id = owner.put(())
    giver.running[0] = Call(0, caller.address, giver.address, ())
    caller.calls[0] = giver.running[0]
    owner.call(giver.address, (object_id,))
    world.deliver(owner.address, giver.address, 0)
    giver.finish(0, (object_id,), keep=False)
    world.deliver(giver.address, owner.address, 0)
    world.deliver(owner.address, giver.address, 0)
    world.deliver(giver.address, caller.address, 0)
    assert caller.holds() == [object_id]
    giver.alive = False
    owner.drop(object_id)
    world.calm_down()
    assert object_id in owner.contents
    caller.drop(object_id)
    world.calm_down()
    assert not owner.contents and not owner.table.table
