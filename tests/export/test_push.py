"""An export on the hub: checked before any work, uploaded as one commit, named by that commit."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

from clipadapt.cli import main
from clipadapt.errors import ExportError, UsageError
from clipadapt.export import push as hub
from clipadapt.export.parity import Agreement
from clipadapt.export.preparation import Exported


class Hub:
    """What of HfApi is used, remembering what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.fails: dict[str, Exception] = {}

    def __call__(self) -> "Hub":
        return self

    def _answer(self, name: str, said: dict[str, Any]) -> None:
        self.asked.append((name, said))
        if name in self.fails:
            raise self.fails[name]

    def whoami(self) -> dict[str, str]:
        self._answer("whoami", {})
        return {"name": "me"}

    def create_repo(self, repository: str, **said: Any) -> None:
        self._answer("create_repo", {"repository": repository, **said})

    def upload_folder(self, **said: Any) -> SimpleNamespace:
        self._answer(
            "upload_folder", {**said, "files": sorted(path.name for path in Path(said["folder_path"]).iterdir())}
        )
        return SimpleNamespace(oid="5f1c0de")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub()
    monkeypatch.setattr(hub, "HfApi", made)
    return made


def done(folder: Path) -> Exported:
    return Exported(folder, "open_clip", Agreement(0.0, 0.0), "image-1", "text-1")


def test_a_commit_is_named_by_the_string_that_loads_it(api: Hub, tmp_path: Path) -> None:
    hub.check("shop/skirts", "open_clip")
    assert hub.push(done(tmp_path), "shop/skirts") == "hf-hub:shop/skirts@5f1c0de"
    assert [name for name, _ in api.asked] == ["whoami", "create_repo", "upload_folder"]
    assert api.asked[1][1] == {"repository": "shop/skirts", "private": True, "exist_ok": True}
    said = api.asked[2][1]
    assert (said["repo_id"], said["folder_path"]) == ("shop/skirts", tmp_path)
    assert said["commit_message"].endswith("image-1, text-1")


@pytest.mark.parametrize(
    ("name", "to", "message"),
    [
        ("skirts", "open_clip", "write ORG/NAME"),
        ("a/b/c", "open_clip", "write ORG/NAME"),
        ("shop/..", "open_clip", "write ORG/NAME"),
        ("shop/skirts", "triton", "is served from a folder"),
    ],
)
def test_a_name_or_form_that_cannot_be_is_refused_unasked(api: Hub, name: str, to: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        hub.check(name, to)
    assert api.asked == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LocalTokenNotFoundError("none"), "hf auth login"),
        (
            OfflineModeIsEnabled("offline mode is enabled\nmore"),
            r"cannot be reached.*\(offline mode is enabled\).*hf upload",
        ),
    ],
)
def test_no_token_and_no_network_are_known_before_work(
    api: Hub, error: Exception, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.fails["whoami"] = error
    with pytest.raises(UsageError, match=message):
        hub.check("shop/skirts", "open_clip")
    arguments = ["export", "local-dir:nowhere", "--to", "open_clip", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--push", "shop/skirts"]) == 2
    assert "--push" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_failed_upload_leaves_the_export_and_says_how_to_go_on(api: Hub, tmp_path: Path) -> None:
    api.fails["upload_folder"] = OSError("connection reset")
    with pytest.raises(ExportError, match=r"connection reset.*is whole.*hf upload shop/skirts"):
        hub.push(done(tmp_path), "shop/skirts")
