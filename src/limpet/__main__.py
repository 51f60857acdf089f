"""`python -m limpet` is `limpet`."""

from limpet.scripts.main import main

if __name__ == "__main__":
    main()
