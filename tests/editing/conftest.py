import pytest
import two_balls


@pytest.fixture(scope="session")
def params():
    return two_balls.params()


@pytest.fixture(scope="session")
def head():
    return two_balls.head()
