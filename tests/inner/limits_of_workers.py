"""The same in a worker of pytest-xdist, which has no terminal and may die."""

from limits import by_thread, executor, fetch, over

from faultline import ok, serve, stall


def test_client(faultline):
    executor(over(faultline.serve(stall())))


def test_with_block():
    with serve(stall()) as server:
        fetch(over(server))


@by_thread
def test_end(faultline):
    executor(over(faultline.serve(stall())))


def test_goes_on(faultline):
    assert fetch(faultline.serve(ok(b"hello"))).endswith(b"hello")
