"""Actors that keep accounts: what they acknowledged must be in the books, once, and in the order of each client.

Three accounts differ in what happens when they die: one is restarted and calls to it are not repeated, one is
restarted and they are, one is restarted once. Books are lost with their incarnation, so each receipt names the
incarnation that gave it, and only the books of the last one can be checked. The program itself kills each account
now and then.
"""

from __future__ import annotations

import time
import uuid
from typing import Any, NamedTuple

import thornback as ray
from thornback.exceptions import ActorDiedError, ActorUnavailableError, WorkerCrashedError
from thornback.faults.workloads.checks import CheckFailed, check, check_equal, outcome, outcomes


class Receipt(NamedTuple):
    """An acknowledged deposit."""

    incarnation: str
    client: str
    number: int
    amount: int


class Statement(NamedTuple):
    """The books of one incarnation: amounts by client and number of the deposit."""

    incarnation: str
    deposits: dict[tuple[str, int], int]


@ray.remote
class Account:
    """Keeps books, and raises when a deposit comes twice or too late."""

    def __init__(self) -> None:
        self.incarnation = uuid.uuid4().hex
        self.deposits: dict[tuple[str, int], int] = {}
        self.last: dict[str, int] = {}

    def deposit(self, client: str, number: int, amount: int) -> Receipt:
        """Book an amount."""
        last = self.last.get(client, -1)
        if (client, number) in self.deposits:
            raise CheckFailed(f"deposit {number} of client {client} must run once in an incarnation, and came again")
        if number < last:
            raise CheckFailed(f"deposit {number} of client {client} must come before {last}, and came after it")
        time.sleep(0.01)
        self.last[client] = number
        self.deposits[client, number] = amount
        return Receipt(self.incarnation, client, number, amount)

    def statement(self) -> Statement:
        """All that is booked."""
        return Statement(self.incarnation, self.deposits)


def check_restarts(title: str, found: dict[str, list[Any]]) -> None:
    """The account with a limit has had no more incarnations than that; one that a node which left has cost is free."""
    receipts = [each for results in found.values() for each in results if isinstance(each, Receipt)]
    incarnations = {receipt.incarnation for receipt in receipts}
    most = 2 + sum(not node["Alive"] for node in ray.nodes())
    check(
        title != "limited" or len(incarnations) <= most,
        f"max_restarts=1 and the nodes that have left allow {most} incarnations, not {len(incarnations)}",
    )


def pay(
    account: Any, client: str, deposits: int, errors: tuple[type[BaseException], ...], kill: bool = False
) -> list[Any]:
    """Make deposits, some at a time, and perhaps kill the account meanwhile; a receipt or an allowed error for each."""
    found: list[Any] = []
    for first in range(0, deposits, 5):
        refs = [account.deposit.remote(client, number, 1 + number % 7) for number in range(first, first + 5)]
        if kill and first % 10 == 5:
            time.sleep(0.03)
            ray.kill(account, no_restart=False)
        found += outcomes(f"deposit of client {client}, from {first} on,", refs, errors)
        time.sleep(0.05)
    return found


@ray.remote(max_retries=0, num_cpus=0.5)
def client(account: Any, name: str, deposits: int, errors: tuple[type[BaseException], ...]) -> list[Any]:
    """A client in a process of its own."""
    return pay(account, name, deposits, errors)


def final_statement(account: Any) -> Statement | ActorDiedError:
    """The books, as soon as the account can be reached."""
    while True:
        found: Any = outcome("the statement", account.statement.remote(), (ActorUnavailableError, ActorDiedError))
        if not isinstance(found, ActorUnavailableError):
            return found  # type: ignore[no-any-return]
        time.sleep(0.1)


def compare(title: str, statement: Statement, found: dict[str, list[Any]]) -> None:
    """What clients have receipts for, from this incarnation, is booked; and nothing is booked that was not paid."""
    for name, results in found.items():
        for receipt in (each for each in results if isinstance(each, Receipt)):
            if receipt.incarnation == statement.incarnation:
                booked = statement.deposits.get((receipt.client, receipt.number))
                check_equal(f"{title}: the booked amount of {name}'s deposit {receipt.number}", booked, receipt.amount)
        acknowledged = {receipt.number for receipt in results if isinstance(receipt, Receipt)}
        unknown = {number for number, each in enumerate(results) if not isinstance(each, Receipt)}
        booked_numbers = {number for (booker, number) in statement.deposits if booker == name}
        extra = sorted(booked_numbers - acknowledged - unknown)
        check(not extra, f"{title}: only {name}'s own deposits may be booked, and {extra} are too")
    least = sum(
        receipt.amount
        for results in found.values()
        for receipt in results
        if isinstance(receipt, Receipt) and receipt.incarnation == statement.incarnation
    )
    total = sum(statement.deposits.values())
    check(total >= least, f"{title}: the sum must be at least the acknowledged {least}, and is {total}")


def main(clients: int = 3, deposits: int = 30) -> None:
    """Several clients pay into each account at the same time, the program itself among them."""
    ray.init(ignore_reinit_error=True)
    unavailable: tuple[type[BaseException], ...] = (ActorUnavailableError,)
    accounts = {
        "restarted": (Account.options(max_restarts=-1, num_cpus=0.5).remote(), unavailable),
        "repeated": (Account.options(max_restarts=-1, max_task_retries=-1, num_cpus=0.5).remote(), ()),
        "limited": (Account.options(max_restarts=1, num_cpus=0.5).remote(), (*unavailable, ActorDiedError)),
    }
    running = {
        title: [client.remote(account, f"{title} {index}", deposits, errors) for index in range(clients)]
        for title, (account, errors) in accounts.items()
    }
    paid = {
        title: pay(account, f"{title} main", deposits, errors, True) for title, (account, errors) in accounts.items()
    }
    for title, (account, _) in accounts.items():
        ended = outcomes(f"client of the {title} account", running[title], (WorkerCrashedError,))
        found = {f"{title} {index}": each for index, each in enumerate(ended) if isinstance(each, list)}
        found[f"{title} main"] = paid[title]
        check_restarts(title, found)
        statement = final_statement(account)
        if isinstance(statement, Statement):
            compare(f"the {title} account", statement, found)
        else:
            check_equal("the account that may end", title, "limited")


if __name__ == "__main__":
    main()
