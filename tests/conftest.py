"""What holds for every test: a home of its own, so that none sees or leaves anything in the user's."""

import os
from collections.abc import Iterator

import pytest

OF_THE_USER = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "STATE_DIRECTORY", "TASKWATCH_CONFIG")


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Set the home aside: the default place of a store is there, and a store of another version may be in it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        for name in OF_THE_USER:
            if name in os.environ:
                environment.delenv(name)
        yield
