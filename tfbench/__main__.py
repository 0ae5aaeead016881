"""`python -m tfbench`."""

from tfbench.cli.app import main

if __name__ == "__main__":
    main()
