"""Two greenlets switch to each other explicitly; the first switch passes the arguments."""

from greenlet import greenlet


def eat(name: str) -> None:
    print(f"{name} eats 1")
    player.switch(name)
    print(f"{name} eats 2")
    player.switch()


def play(name: str) -> None:
    print(f"{name} plays 1")
    eater.switch()
    print(f"{name} plays 2")


eater, player = greenlet(eat), greenlet(play)
eater.switch("egon")
