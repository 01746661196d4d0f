"""`saint data prepare` under the name that the public description of the system has for it."""

import sys

from saint.cli.main import main

if __name__ == "__main__":
    main(["data", "prepare", *sys.argv[1:]], prog_name="saint")
