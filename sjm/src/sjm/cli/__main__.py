"""``python -m sjm.cli`` is the command ``sjm``."""

from sjm.cli import main

if __name__ == "__main__":
    main()
