"""Adapt a CLIP to a catalogue, from a config to an export: the whole job is clipadapt/launch.py, where reading starts.

accelerate launch train.py --config configs/fashion_eva02_b16.yaml [train.lr=2e-4 data.source=... output_dir=...]
accelerate launch -m clipadapt.launch --config ...        # the same, where clipadapt was installed by pip
"""

from clipadapt.launch import main

if __name__ == "__main__":
    main()
