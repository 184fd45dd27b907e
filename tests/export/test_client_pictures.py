"""What a client decodes without clipadapt is what the catalogue decodes."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odd_pictures import odd_pictures

from clipadapt.data.decode import decode
from clipadapt.export.client_pictures import standalone_source


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("client") / "pictures.py"
    file.write_text(standalone_source(), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("client_pictures_file", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", list(odd_pictures()))
def test_the_clients_pixels_are_the_catalogues(pictures, kind):
    data = odd_pictures()[kind]
    assert np.array_equal(np.asarray(pictures.decode(data)), np.asarray(decode(data)))


def test_the_file_runs_without_clipadapt(tmp_path: Path):
    (tmp_path / "pictures.py").write_text(standalone_source(), encoding="utf-8")
    script = "import sys; sys.modules['clipadapt'] = None; import pictures; print(pictures.decode.__name__)"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "decode"
