"""Exports on the hub: a folder uploaded as one commit, and the MODEL string that pins it.

    check("org/name")                     before any work: a name, a network, a token
    push(done, "org/name")                "hf-hub:org/name@5f1c..."

A repository that is not there is made private; who owns it may open it. The token is huggingface_hub's own affair: it
finds it where `hf auth login` or HF_TOKEN left it. Nothing here writes exports.
"""

from importlib.metadata import version

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id

from clipadapt.errors import ExportError, UsageError
from clipadapt.export.formats import FORMS, form_named
from clipadapt.export.preparation import Exported


def check(repository: str, to: str) -> None:
    """Before any work starts.

    Raises:
        UsageError: not ORG/NAME, a format without a model card, no network, or no token that the hub accepts.
    """
    if form_named(to).hub is None:
        others = ", ".join(name for name, form in FORMS.items() if form.hub is not None)
        raise UsageError(f"--push: a {to} repository is served from a folder; export to one of {others}")
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UsageError(f"--push {repository}: {error}; write ORG/NAME") from error
    if repository.count("/") != 1:
        raise UsageError(f"--push {repository}: no name of a repository; write ORG/NAME")
    try:
        HfApi().whoami()
    except LocalTokenNotFoundError as error:
        raise UsageError("--push: no token for the hub; type `hf auth login`, or set HF_TOKEN") from error
    except Exception as error:  # huggingface_hub's errors have no common class
        raise UsageError(
            f"--push {repository}: the hub cannot be reached, or refuses the token ({_first_line(error)}); nothing was "
            "done. Leave out --push and upload the folder from a machine with a network: hf upload ORG/NAME FOLDER"
        ) from error


def push(done: Exported, repository: str) -> str:
    """Uploads an export; returns the MODEL string of this very commit, where one can be loaded from the hub.

    Raises:
        ExportError: the hub refuses; the folder stays.
    """
    api = HfApi()
    spaces = ", ".join(space for space in (done.image_space, done.text_space) if space)
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=done.path,
            commit_message=f"{done.format} by clipadapt {version('clipadapt')}: {spaces}",
        )
    except Exception as error:  # as above
        raise ExportError(
            f"{repository}: could not be uploaded ({_first_line(error)}); the export is whole, in {done.path}. "
            f"Try again: hf upload {repository} {done.path}"
        ) from error
    return f"{form_named(done.format).hub or ''}{repository}@{commit.oid}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
