"""Trains a config over the tiny towers: run_train.py CONFIG.yaml"""

import sys

import tiny_models  # noqa: F401  # registers the tiny towers with timm

from clipadapt.config import Config
from clipadapt.processes.exchange import leave
from clipadapt.training.trainer import train

if __name__ == "__main__":
    train(Config.load(sys.argv[1]))
    leave()
