"""Limits from a file, and the faults of one."""

from pathlib import Path

import pytest

from clipadapt.cli import main
from clipadapt.errors import ConfigError
from clipadapt.service.settings import MOST_PIXELS, Limits


def test_a_file_changes_what_it_names(tmp_path: Path):
    (tmp_path / "limits.yaml").write_text("upload_bytes: 5_000_000\nwaiting: 0\nwork_seconds: 2.5\n")
    found = Limits.load(tmp_path / "limits.yaml")
    assert (found.upload_bytes, found.waiting, found.work_seconds) == (5_000_000, 0, 2.5)
    assert found.pixels == Limits().pixels


def test_all_faults_come_at_once(tmp_path: Path):
    (tmp_path / "limits.yaml").write_text(f"upload_byte: 5\nthreads: 0\npixels: {MOST_PIXELS + 1}\n")
    with pytest.raises(ConfigError, match="3 fault") as caught:
        Limits.load(tmp_path / "limits.yaml")
    for said in ("did you mean upload_bytes?", "threads", "pixels"):
        assert said in str(caught.value)


def test_the_command_reads_it(tmp_path: Path, index_folder: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "limits.yaml").write_text("wait: 3\n")
    assert main(["serve", str(index_folder), "--limits", str(tmp_path / "limits.yaml"), "--check"]) == 2
    assert "did you mean waiting?" in capsys.readouterr().err
