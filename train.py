"""Adapt a CLIP to a catalogue, from a config to an export: where reading starts.

    accelerate launch train.py --config configs/fashion_eva02_b16.yaml [train.lr=2e-4 data.source=... output_dir=...]

catalogue -> towers -> LoRA -> training          clipadapt.train, on every process of the launch
-> evaluation against the base -> report         on the first process, from here on
-> merge -> export, proven equal -> what to type next
"""

import argparse

from clipadapt.cli import reporting


def main() -> None:
    parser = argparse.ArgumentParser(description="Adapt a CLIP to a catalogue.", epilog="See README.md and configs/.")
    parser.add_argument("--config", required=True, help="a YAML file of configs/, or of your own")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="replaces a key of the config")
    arguments = parser.parse_args()
    with reporting():
        adapt(arguments.config, arguments.overrides)


def adapt(path: str, overrides: list[str]) -> None:
    """The main job; every step can be run alone with a `clipadapt` command."""
    from clipadapt import Index, evaluate, load, train
    from clipadapt.cli.summary import closing_summary
    from clipadapt.config import Config
    from clipadapt.data.bins import training_counts
    from clipadapt.data.splits import load_splits
    from clipadapt.evaluation.suite import Suite
    from clipadapt.export import export
    from clipadapt.processes import is_main_process
    from clipadapt.processes.exchange import leave
    from clipadapt.prompts import Prompts

    config = Config.load(path, overrides)
    run = train(config)
    leave()
    if not is_main_process():
        return

    adapted = load(f"run:{run.path}")
    splits = load_splits(config.data, config.seed)
    if config.eval.suite:
        evaluate(
            adapted,
            splits.validation,
            Prompts.load(config.prompts),
            Suite.load(config.eval.suite),
            split="validation",
            against=load(config.model.name, image_size=config.model.image_size),
            train_counts=training_counts(splits.train, splits.tune),
            headline=config.eval.headline,
            holdout_pairs=config.data.holdout_pairs,
            tune=splits.tune,
            fitted_on={"epoch": "tune"},
            out=run.report,
            broken=config.data.broken,
        )
    for form in config.export:
        export(f"run:{run.path}", form, run.export / form, overwrite=True)
    index = run.path / "index"
    if config.index:
        Index.build(getattr(splits, config.index), index, encoder=adapted)
    print(closing_summary(run, index if config.index else None))


if __name__ == "__main__":
    main()
