"""`python -m weightswarm`."""

import os

if __name__ == "__main__":
    try:
        from weightswarm.cli.start import main
    except KeyboardInterrupt:  # nothing handles signals yet
        os._exit(130)
    main()
