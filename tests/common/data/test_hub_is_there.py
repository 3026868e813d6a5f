"""A machine without a hub does not wait for it."""

from types import SimpleNamespace

from common.data import hub

import datasets
import pytest
from huggingface_hub import constants


@pytest.mark.parametrize(
    "answer", [TimeoutError, SimpleNamespace(is_server_error=True), SimpleNamespace(is_server_error=False)]
)
def test_the_hub_is_asked_once_and_then_the_cache_alone(answer: object, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def head(address: str, timeout: float) -> object:
        asked.append((address, timeout))
        if answer is TimeoutError:
            raise TimeoutError
        return answer

    monkeypatch.setattr(hub, "get_session", lambda: SimpleNamespace(head=head))
    for owner in (constants, datasets.config):
        monkeypatch.setattr(owner, "HF_HUB_OFFLINE", False)
    hub.use_cache_if_unreachable.cache_clear()
    for _ in range(2):
        hub.use_cache_if_unreachable()
    hub.use_cache_if_unreachable.cache_clear()
    assert asked == [(constants.ENDPOINT, 10)], "for ten seconds at most"
    is_there = not getattr(answer, "is_server_error", True)
    assert (not is_there, not is_there) == (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)
