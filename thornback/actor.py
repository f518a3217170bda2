"""Actors, under the module name that Ray programs import them from."""

from thornback.api.actor_class import ActorClass
from thornback.api.actor_handle import ActorHandle, ActorMethod
from thornback.api.actor_type import method
from thornback.api.runtime_context import exit_actor

__all__ = ["ActorClass", "ActorHandle", "ActorMethod", "exit_actor", "method"]
