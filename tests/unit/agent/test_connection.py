"""What the agent makes of answers that are not the cloud's."""

from collections.abc import Callable

import pytest
from tests.support.answering import Answering

from overland.agent.connection import Connection
from overland.agent.signingcloud import SigningCloud
from overland.errors import Unreachable
from overland.values import PointId, SeedId
from overland.vault.retention import Retention

SEED, POINT = SeedId("5" * 8), PointId("6" * 8)


@pytest.mark.parametrize("body", [None, "<html>", 7, [7], {"seed_id": 7, "points": {}}])
@pytest.mark.parametrize(
    "ask",
    [
        lambda it: it.register(name="n", repository_id="r", signing_public_key="k", proof="p"),
        lambda it: it.create_seed(
            seed_id=SEED,
            job_name="j",
            policy="p",
            subscription_id="s",
            storage_account="a",
            container="c",
        ),
        lambda it: it.preflight(job_name="j"),
        lambda it: it.seed(SEED),
        lambda it: it.relink_seed(SEED, job_name="j"),
        lambda it: it.clean_up_seed(SEED),
        lambda it: it.start_adoption(SEED),
        lambda it: it.adoption(SEED),
        lambda it: it.vault_grant(policy_id="p"),
        lambda it: it.publish_point(POINT, chain_version=3, policy_id="p"),
        lambda it: it.points(),
        lambda it: it.chains(),
        lambda it: it.delete_point(POINT),
        lambda it: it.undelete_point(POINT),
        lambda it: it.accept_replacement("r", chain_version=3),
    ],
)
def test_an_answer_of_another_form_is_not_the_clouds(
    ask: Callable[[Connection], object], body: object
) -> None:
    with pytest.raises(Unreachable, match="is not a cloud that this program understands"):
        ask(Connection(Answering(body)))


def test_where_no_answer_is_expected_any_form_will_do() -> None:
    connection = Connection(Answering(None))
    connection.put_manifest(SEED, b"manifest")
    connection.abandon_seed(SEED)
    connection.put_retention("p", Retention())


@pytest.mark.parametrize("body", [None, "<html>", 7, [7], {"signing_public_key": 7}])
@pytest.mark.parametrize("ask", [lambda it: it.signers(), lambda it: it.seeds()])
def test_nor_is_what_answers_while_the_signing_key_changes(
    ask: Callable[[SigningCloud], object], body: object
) -> None:
    with pytest.raises(Unreachable, match="is not a cloud that this program understands"):
        ask(SigningCloud(Answering(body), source_computer_id="c"))
