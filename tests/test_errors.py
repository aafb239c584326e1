import copy
import pickle

import pytest

from danlu import errors
from danlu.errors import DanluError, DataError, ModelError, RecipeError, RunError, TrainingError, nearest, unknown_name

KINDS = [RecipeError, DataError, ModelError, RunError, TrainingError]


def test_an_error_is_one_line_of_four_parts():
    error = RecipeError(where="optim.lr", got=-0.1, want="a number > 0", fix="set optim.lr, or pass --set optim.lr=0.1")
    assert (
        str(error)
        == "optim.lr: got -0.1; want a number > 0. Fix: set optim.lr, or pass --set optim.lr=0.1."  # one line
    )
    assert (error.where, error.got, error.want) == ("optim.lr", -0.1, "a number > 0")
    assert error.fix == "set optim.lr, or pass --set optim.lr=0.1"
    assert error.exit_code == 2


@pytest.mark.parametrize("missing", ["where", "got", "want", "fix"])
def test_an_error_without_a_part_cannot_be_written(missing):
    parts = {"where": "a", "got": "b", "want": "c", "fix": "d"}
    del parts[missing]
    with pytest.raises(TypeError, match=missing):
        DataError(**parts)


@pytest.mark.parametrize(
    ("got", "shown"), [("fast", "fast"), ("", "''"), (None, "None"), (0, "0"), (float("nan"), "nan"), ([1], "[1]")]
)
def test_what_it_got_is_shown(got, shown):
    assert str(DataError(where="x", got=got, want="y", fix="z")) == f"x: got {shown}; want y. Fix: z."


def test_a_question_ends_without_a_full_stop():
    assert str(DataError(where="x", got=1, want="y", fix="did you mean z?")) == "x: got 1; want y. Fix: did you mean z?"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_danlu_error_and_no_other_kind(kind):
    assert kind.__mro__[1] is DanluError
    assert not issubclass(kind, ValueError | OSError)


def test_the_tree_at_the_top_of_the_file_is_the_tree():
    found = {thing.__name__ for thing in vars(errors).values() if isinstance(thing, type) and thing in KINDS}
    assert found == {cls.__name__ for cls in DanluError.__subclasses__()}
    assert all(name in errors.__doc__ for name in found)


@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_an_error_crosses_from_a_worker_process_whole(again):
    error = DataError(where="sample 3", got=[1, 2], want="a number", fix="mend it")
    error.add_note("in worker 1")
    twin = again(error)
    assert type(twin) is DataError
    assert str(twin) == str(error)
    assert (twin.where, twin.got, twin.want, twin.fix) == ("sample 3", [1, 2], "a number", "mend it")
    assert twin.__notes__ == ["in worker 1"]


def test_nearest_names_come_best_first_and_ignore_case():
    assert nearest("ADAM", ["adamw", "adam", "sgd"]) == ["adam", "adamw"]
    assert nearest("adam", ["AdamW", "Adam"], count=1) == ["Adam"]
    assert nearest("zzz", ["adam", "sgd"]) == []
    assert nearest("a", []) == []


def test_an_unknown_name_is_told_its_neighbours():
    error = unknown_name(RecipeError, "optim.name", "adma", ["sgd", "adam", "adamw"], "optimizer")
    assert type(error) is RecipeError
    assert str(error) == "optim.name: got 'adma'; want a known optimizer. Fix: did you mean adam or adamw?"


def test_an_unknown_name_without_neighbours_is_told_all_names():
    error = unknown_name(DataError, "data.name", "zzz", ["iris", "digits"], "data set")
    assert str(error) == "data.name: got 'zzz'; want a known data set. Fix: choose one of: digits, iris."
