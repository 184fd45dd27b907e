"""The model of a release, as `load("release:PATH")` gives it.

PATH is a folder of releases, of which the promoted one is meant, or one release in its versions/. Nothing here writes.
"""

from pathlib import Path

from clipadapt.deploy.bundle import MODEL
from clipadapt.deploy.lineage import ReleaseInfo
from clipadapt.errors import ModelError, StoreError, listing
from clipadapt.store import MANIFEST, Store, check_manifest
from clipadapt.towers.encoder import Precision, TorchEncoder
from clipadapt.towers.load import load


def release_folder(path: str | Path) -> Path:
    """The release that `release:PATH` names: a release's own folder, or the current one of a store.

    Raises:
        ModelError: neither is there.
        StoreError: nothing was promoted yet, or files are missing or of another size.
    """
    folder = Path(path).expanduser()
    if (folder / "versions").is_dir():
        return Store(folder).current()
    if not (folder / MANIFEST).is_file():
        raise ModelError(f"release:{path}: no such release; name a folder of releases, or one release in its versions/")
    ReleaseInfo.read(folder)
    if faults := check_manifest(folder, verify=False):
        raise StoreError(f"{folder}: was changed after it was created{listing(faults)}\ncopy the release again")
    return folder


def load_encoder(name: str, *, device: str, precision: Precision, image_size: int | None) -> TorchEncoder:
    """What `load("release:NAME")` calls: the merged model of a release, its weights compared with their digest.

    Raises:
        ModelError, StoreError: as `release_folder` and `load`.
    """
    encoder = load(str(release_folder(name) / MODEL), device=device, precision=precision, image_size=image_size)
    assert isinstance(encoder, TorchEncoder), "a merged folder holds torch weights"
    encoder.name = f"release:{name}"
    return encoder
