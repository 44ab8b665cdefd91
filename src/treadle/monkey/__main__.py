"""``python -m treadle.monkey``: run a program patched."""

from treadle.monkey import main

if __name__ == "__main__":
    main()
