"""Trains, evaluates and exports a system; see `python train.py --help`."""

from aae_jax import program

if __name__ == '__main__':
  program.main()
