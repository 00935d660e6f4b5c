import pytest

from fraudguard.config import Settings

SECTIONS = {
    "numbering": {"home": "US", "outside_line": "9", "area_code": "202"},
    "tenants": {"acme": {"home": "GB", "outside_line": "", "area_code": ""}},
    "trunks": {"carrier": {"deck": "main"}, "second": {"deck": "main", "number_format": "e164"}},
}


@pytest.fixture
def make_settings():
    """Two trunks, an American office and a British tenant; keywords replace whole sections."""

    def make(**sections) -> Settings:
        return Settings(**{**SECTIONS, **sections})

    return make


@pytest.fixture
def settings(make_settings) -> Settings:
    return make_settings()
