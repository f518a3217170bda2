"""What a program may claim: JobConfig, and the errors for what makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

import thornback as ray
from thornback.core.messages import JobTerms
from thornback.core.resources import UNIT


def test_amounts_become_integers() -> None:
    config = ray.JobConfig(weight=2, quota={"CPU": 1.5, "memory": 1000, "GPU": 0})
    assert config.to_terms() == JobTerms(2.0, {"CPU": 3 * UNIT // 2, "memory": 1000, "GPU": 0})
    assert ray.JobConfig().to_terms() == JobTerms()


def test_it_is_found_where_ray_has_it() -> None:
    from thornback.job_config import JobConfig

    assert JobConfig is ray.JobConfig and ray.job_config.JobConfig is JobConfig


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"weight": 0}, ValueError, "weight must be a finite number above 0, not 0"),
        ({"weight": float("inf")}, ValueError, "not inf"),
        ({"weight": float("nan")}, ValueError, "not nan"),
        ({"weight": "much"}, TypeError, "weight must be a number above 0, not 'much'"),
        ({"weight": True}, TypeError, "not True"),
        ({"quota": 8}, TypeError, r'quota must be a dictionary such as \{"CPU": 8\}, not 8'),
        ({"quota": {"CPU": -1}}, ValueError, r"quota\['CPU'\] must be a finite number >= 0, not -1"),
        ({"quota": {"CPU": "8"}}, TypeError, "'CPU': '8'"),
        ({"metadata": {"owner": 1}}, TypeError, "metadata must map strings to strings"),
    ],
)
def test_bad_terms_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ray.JobConfig(**arguments)


def test_init_wants_a_job_config() -> None:
    with pytest.raises(TypeError, match=r"job_config must be a thornback.JobConfig, not \{'weight': 2\}"):
        ray.init(job_config={"weight": 2})  # type: ignore[arg-type]
