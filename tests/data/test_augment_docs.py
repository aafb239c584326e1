"""docs/augment.md says of every augmentation what the code does."""

import importlib.util
from pathlib import Path

from danlu.data.augment import KINDS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_table_of_augmentations_is_up_to_date():
    spec = importlib.util.spec_from_file_location("make_augment_table", DOCS / "make_augment_table.py")
    assert spec is not None
    assert spec.loader is not None
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    assert (DOCS / "augment.md").read_text(encoding="utf-8") == table.text(), "run python docs/make_augment_table.py"
    course = (DOCS / "course.md").read_text(encoding="utf-8")
    assert "(augment.md)" in course
    assert all(name in course for name in KINDS)
