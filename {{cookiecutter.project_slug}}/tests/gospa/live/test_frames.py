import os

import pytest
from websockets.frames import Frame, Opcode

from gospa.live.frames import framed


@pytest.mark.parametrize("size", [0, 1, 125, 126, 2**16 - 1, 2**16, 10**6])
def test_a_frame_is_as_the_websockets_package_writes_it(size: int) -> None:
    message = os.urandom(size)
    assert framed(message) == Frame(Opcode.BINARY, message).serialize(mask=False)
