"""`python -m hf_select ...`, and `torchrun -m hf_select score ...`: the command line."""

from hf_select.cli import main

main()
