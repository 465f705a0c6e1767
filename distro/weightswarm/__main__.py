"""`python -m weightswarm`."""

from weightswarm.cli.main import main

if __name__ == "__main__":
    main()
