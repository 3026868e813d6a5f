"""The upload of an export to the Hugging Face hub."""

from pathlib import Path

from common.data.hub import refusal
from common.errors import brief, fail, say

import huggingface_hub
from huggingface_hub.utils import HFValidationError, validate_repo_id


def check_push(name: str) -> None:
    """Fails before any work if the upload could not succeed, or would go into a repository that is there already."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        fail(f"--push {name}: {brief(error)}")
    if "/" not in name:
        fail(f"--push {name}: name the owner too, for example --push my_name/{name}")
    if huggingface_hub.get_token() is None:
        fail("--push needs a token of the Hugging Face hub with write access; `hf auth login` stores one, or set HF_TOKEN")
    try:
        exists, me = huggingface_hub.HfApi().repo_exists(name), huggingface_hub.HfApi().whoami()
    except Exception as error:  # whatever the HTTP library of this version raises
        fail(f"--push {name}: {refusal(error) or f'the hub does not answer: {brief(error)}'}")
    if exists:
        fail(f"--push {name}: that repository exists already, and nothing is overwritten; choose another name")
    # A fine-grained token may be refused later: the hub alone knows by which of its rights.
    if ((me.get("auth") or {}).get("accessToken") or {}).get("role") == "read":
        fail(f"--push {name}: the token may only read; give one of the kind `write` (`hf auth login`, or HF_TOKEN)")
    owner, _, rest = name.partition("/")
    if owner not in (me["name"], *(group["name"] for group in me.get("orgs", []))):
        fail(f"--push {name}: the token is that of {me['name']}, who is not in {owner}; choose {me['name']}/{rest}")


def upload(name: str, folder: Path) -> None:
    """Uploads a folder into a new private repository, or fails in one line and keeps it."""
    api = huggingface_hub.HfApi()
    try:
        api.create_repo(name, private=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Export of a trained model")
    except Exception as error:  # as above
        fail(f"--push {name}: {brief(error)}; the export is kept: `hf upload {name} {folder} . --private` uploads it")
    say(f"Uploaded to {huggingface_hub.constants.ENDPOINT}/{name}, a private repository.")
