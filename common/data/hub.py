"""The Hugging Face hub: asked once whether it is there, so that a machine without one does not wait for it."""

from functools import cache

import datasets
from huggingface_hub import constants
from huggingface_hub.utils import get_session


def is_path(name: str) -> bool:
    """Returns whether a name can only be a local path: a hub id is `name` or `owner/name`."""
    return name.startswith(("/", "./", "../", "~")) or name.count("/") > 1


@cache
def use_cache_if_unreachable() -> None:
    """Looks only at what is in the local cache from here on if the hub does not answer.

    The libraries do so as well, but only after they have retried every single file for 23 seconds, in a dozen lines.
    """
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception:  # whatever the HTTP library of this version raises, and the hub's own error if HF_HUB_OFFLINE is set
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
