import os
from pathlib import Path

import pytest

from tfbench.core.errors import StorageError
from tfbench.core.files import write_atomically


def test_a_file_is_whole_and_has_the_rights_that_the_umask_gives(tmp_path: Path):
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "new" / "a.json", b"one")
        write_atomically(tmp_path / "new" / "a.json", b"two")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "a.json").read_bytes() == b"two"
    assert (tmp_path / "new" / "a.json").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_atomically(tmp_path / "file" / "a.json", b"")
