"""The whole job over the tiny towers: run_launch.py --config CONFIG.yaml"""

import tiny_models  # noqa: F401  # registers the tiny towers with timm

from clipadapt.launch import main

if __name__ == "__main__":
    main()
