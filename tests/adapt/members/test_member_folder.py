from pathlib import Path

from losa.adapt import AdaptConfig
from losa.adapt.members.member_folder import member_folder


def test_what_an_earlier_version_trained_is_found(tmp_path: Path) -> None:
    config = AdaptConfig(cache="digits", dropout=0.1)
    assert member_folder(tmp_path, config) == tmp_path / config.member_name
    (tmp_path / config.earlier_name).mkdir()
    assert member_folder(tmp_path, config) == tmp_path / config.earlier_name
    assert member_folder(tmp_path, AdaptConfig(cache="digits")).name != config.earlier_name
