"""The Hugging Face hub: asked once whether it is there, so that a machine without one does not wait; and what it refuses."""

from functools import cache

from common.errors import brief

import datasets
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import get_session, httpx

LOG_IN = "give a token that may read it (`hf auth login`, or HF_TOKEN)"


def is_path(name: str) -> bool:
    """Returns whether a name can only be a local path: a hub id is `name` or `owner/name`."""
    return name.startswith(("/", "./", "../", "~")) or name.count("/") > 1


@cache
def use_cache_if_unreachable() -> None:
    """Looks only at what is in the local cache from here on if the hub does not answer, or only that it cannot.

    The libraries do so as well, but only after they have retried every single file for 23 seconds, in a dozen lines.
    """
    try:
        is_there = not get_session().head(constants.ENDPOINT, timeout=10).is_server_error
    except Exception:  # whatever the HTTP library of this version raises, and the hub's own error if HF_HUB_OFFLINE is set
        is_there = False
    if not is_there:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True


def refusal(error: BaseException | None) -> str | None:
    """Returns what the hub has refused or broken off, and the cure, if a library's error comes from that; otherwise None.

    Args:
        error: The library's error; the hub's own is among its causes. Of data `datasets` tells the hub's only in words.
    """
    while error is not None:
        if isinstance(error, GatedRepoError) or (isinstance(error, DatasetNotFoundError) and "gated" in str(error)):
            return f"it is gated; ask for access on its page at {constants.ENDPOINT}, and {LOG_IN}"
        if isinstance(error, (RepositoryNotFoundError, DatasetNotFoundError)):
            return f"the hub has no such repository, or does not show it to everybody; correct the name, or {LOG_IN}"
        if isinstance(error, RevisionNotFoundError):
            return "it has no such branch, tag or commit; correct --model_revision"
        if isinstance(error, httpx.ConnectError):
            return f"the hub cannot be reached ({brief(error)}); give the same command where it answers"
        if isinstance(error, httpx.TransportError):
            return f"the connection to the hub broke ({brief(error)}); give the same command again, whole files are kept"
        if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
            return f"the hub does not accept the token ({error.response.status_code}); {LOG_IN}"
        if isinstance(error, HfHubHTTPError) and error.response.status_code >= 429:
            return f"the hub answers with an error ({error.response.status_code}); give the same command again later"
        error = error.__cause__ or error.__context__
    return None
