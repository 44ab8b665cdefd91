"""``python -m weft.monkey``: run a program patched."""

from weft.monkey import main

if __name__ == "__main__":
    main()
