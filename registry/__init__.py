"""What every room agrees on: a checkpoint, its evidence, its verdict, its aliases."""
