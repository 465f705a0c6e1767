"""`python -m weightswarm`."""

from weightswarm.cli.start import main

if __name__ == "__main__":
    main()
