"""``python -m thornback.cli`` is the command ``thornback``."""

from thornback.cli import main

if __name__ == "__main__":
    main()
