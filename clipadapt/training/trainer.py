"""The training loop: a config in, a run with its best adapter out.

    run = train("configs/quickstart.yaml")        # or `accelerate launch train.py --config ...`
    run.adapter, run.metrics()

Epoch after epoch, step after step: take the global batch's gradient, clip it, step the optimizer; after each epoch
measure tune, keep the adapter if it is the best so far, write a checkpoint. A run that was stopped goes on from its
last checkpoint when it is started again, to the same adapter, bit for bit on a CPU. How a gradient comes about is in
step.py, what it is for in objective.py; nothing here knows of losses or towers.
"""

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from clipadapt.config import Config
from clipadapt.data.augment import Augment
from clipadapt.data.batches import Batches, TrainBatch
from clipadapt.data.digests import changes, digests
from clipadapt.data.lookalikes import titles_of
from clipadapt.data.scan import refuse_other_sizes
from clipadapt.inputs import Inputs, resolve
from clipadapt.memory import bound_kernels, trim
from clipadapt.processes.exchange import Processes, lost_process_named
from clipadapt.progress import bar
from clipadapt.runs import Run
from clipadapt.towers.classifier import PROBE, LinearHead
from clipadapt.towers.lora import check_gradients
from clipadapt.training import checkpoints, guards, keeping, optim, text_warmup
from clipadapt.training.callbacks import State, call, checked
from clipadapt.training.checkpoints import Progress
from clipadapt.training.classifier import ClassifierObjective, HeadTraining
from clipadapt.training.launch import accelerator_for
from clipadapt.training.lower_blocks import CachedBlocks, train_from_tokens
from clipadapt.training.negatives import hard_order, label_codes
from clipadapt.training.objective import Objective
from clipadapt.training.preparation import prepare
from clipadapt.training.references import References
from clipadapt.training.selection import Selection
from clipadapt.training.step import Step
from clipadapt.training.updates import Updates
from clipadapt.training.vectors import picture_vectors


def train(
    config: Config | str | Path,
    run: Run | None = None,
    *,
    inputs: Inputs | None = None,
    callbacks: Sequence[object] = (),
) -> Run:
    """Trains what the config describes, in `run` or in the folder it names, and returns the run.

    Every process of a launch calls it; the first one writes. A finished run is returned as it is.

    Args:
        config: a config, or the path of its file.
        run: where to train; None: the config's output_dir.
        inputs: what the config names, where it is resolved already, so that splits are loaded once.
        callbacks: objects with methods of callbacks.Callback, called on the main process.

    Raises:
        ClipadaptError: whatever a user can mend, from a column that is not there to a loss that is no number. The last
            checkpoint is whole, and the same call goes on from it.
    """
    config = config if isinstance(config, Config) else Config.load(config)
    callbacks = checked(callbacks)
    bound_kernels()
    inputs = inputs or resolve(config=config)
    with (run or Run(config.output_dir)).locked():
        run = Run.create(config) if run is None else run
        _train(config, run, inputs, callbacks)
    return run


def _train(config: Config, run: Run, inputs: Inputs, callbacks: Sequence[object]) -> None:
    accelerator = accelerator_for(config, run)
    try:
        with lost_process_named():
            _Training(config, run, accelerator, inputs, callbacks).go()
    except (RuntimeError, MemoryError) as error:
        if guards.out_of_memory(error):
            raise guards.memory_error(config) from error
        raise
    finally:
        # Not accelerator.end_training: it would also take the process group from whoever called.
        for tracker in accelerator.trackers:
            tracker.finish()


class _Training:
    """One run on one process."""

    def __init__(
        self, config: Config, run: Run, accelerator: Accelerator, inputs: Inputs, callbacks: Sequence[object]
    ) -> None:
        self.config = config
        self.run = run
        self.accelerator = accelerator
        self.processes = Processes(accelerator)
        self.splits = inputs.splits
        self.callbacks = callbacks if self.processes.main else ()
        prompts = self.prompts = inputs.prompts.with_separators(self.splits.train.separators)
        prompts.check(self.splits.train.columns)
        columns = [*config.data.kinds(), *prompts.fields]
        run.learn_from(digests(self.splits._asdict(), columns), lambda then, now: changes(then, now, ("train", "tune")))
        objective = ClassifierObjective if config.head == "linear" else Objective
        titles = titles_of(self.splits.train, config.data.title)
        self.pictures_first = config.train.order == "pictures_first"  # train_texts follows the epochs
        self.objective = objective(config.loss, self.splits.train, prompts, seed=config.seed, titles=titles)
        self.objective.pictures_first = self.pictures_first
        told = [labels.attribute for labels in self.objective.labels] if config.head == "linear" else None
        self.selection = Selection(
            config, self.splits.train, self.splits.tune, prompts, self.processes, told=told,
            wordings=self.objective.wordings,
        )  # fmt: skip
        self.encoder, self.logit_scale, report = prepare(config, accelerator.device, self.objective)
        self.head = None
        """The linear head in training; None where texts tell the attributes."""
        if isinstance(self.objective, ClassifierObjective):
            self.head = HeadTraining(self.objective, self.encoder, config)
        if config.data.mixed_sizes == "refuse":
            for catalogue in self.splits:
                refuse_other_sizes(catalogue, self.encoder.preprocess.size)
        self.parameters = optim.trainable(self.encoder.model)
        if self.head is not None:
            self.parameters |= {f"classifier.{name}": one for name, one in self.head.classifier.named_parameters()}
        self.processes.share(list(self.parameters.values()))  # what the references are copies of
        self.references = References(
            config, self.encoder, self.logit_scale, self.objective, self.parameters, self.splits.train, self.processes,
            encode=self.pictures,
        )  # fmt: skip
        self.parameters = self.references.parameters
        self.batches = Batches(
            self.splits.train, config.train, Augment(config.augment, self.encoder.preprocess, config.seed), config.seed,
            self.processes.rank, self.processes.count, workers=config.data.workers, device=accelerator.device,
            window=config.data.window,
        )  # fmt: skip
        self.cached: CachedBlocks | None = None  # set by `go`
        self.step = Step(
            self.encoder, self.objective, self.logit_scale, self.processes, config,
            base=self.references.base if config.loss.keep else None, backward=accelerator.backward,
        )  # fmt: skip
        learning = self.parameters
        if self.pictures_first:
            learning = {name: one for name, one in learning.items() if self.encoder.tower_of(name) != "text"}
        self.updates = Updates(
            learning, config.train, self.processes, scaler=accelerator.scaler, check=self.check_first_gradients
        )
        self.advised = False
        self.tuned: dict[str, float] = {}
        self.say(f"{report}\n{len(self.splits.train)} items to train on, {len(self.splits.tune)} to tune on")
        if self.processes.main and (warning := guards.cut_texts(self.encoder, self.objective)):
            self.say(warning)

    def check_first_gradients(self) -> None:
        """That the first step reaches everything that is to learn."""
        guards.refuse_without_gradient(self.parameters.values(), self.config)
        check_gradients(self.encoder, ("image",) if self.pictures_first else self.step.learning)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.config.train.epochs * self.batches.steps_per_epoch

    def go(self) -> None:
        """From wherever the run stands to its end."""
        progress = self.resumed()
        self.call("on_start", progress)
        if not self.complete(progress):
            self.cached = train_from_tokens(
                self.config, self.run.cache, self.encoder, self.batches, self.step, self.processes, self.say
            )
            self.references.ready(self.prompts)
        if progress.first is None and not self.finished(progress):
            self.begin(progress)
        while not self.finished(progress):
            self.epoch(progress)
            self.finish_epoch(progress)
        trim()  # of the epochs' activations, before other sizes are asked for beside them
        if not self.complete(progress):
            self.references.take(self.run.adapter)
            pictures = self.pictures()
            self.references.learn_again(pictures, lambda: self.better_again(progress))
            self.train_texts(progress, pictures)
            self.save(progress)
        self.call("on_end", progress)
        if self.processes.main:
            shutil.rmtree(self.run.cache, ignore_errors=True)
        self.say(f"{keeping.summary(progress, self.config, self.selection.metric)}: {self.run.adapter}")
        if self.head is None and keeping.no_better(progress):
            self.say(keeping.NO_BETTER)

    def resumed(self) -> Progress:
        """Where the run stands: its last checkpoint, or the beginning."""
        folder = checkpoints.latest(self.run.checkpoints)
        progress = checkpoints.load(folder, self.references.kept, self.updates.optimizer) if folder else Progress()
        self.run.forget_after(progress.step if folder else -1, progress.logged)
        if self.processes.main:
            keeping.put_in_place(self.run, progress)
        self.processes.wait()
        if folder is None:
            return progress
        keeping.require(self.encoder, self.run, progress, folder)
        if self.head is not None:
            self.encoder.base_probe = LinearHead.load(self.run.adapter / PROBE)
        self.updates.loss_scale = progress.loss_scale
        self.say(f"going on from step {progress.step} of {self.steps} ({folder})")
        return progress

    def finished(self, progress: Progress) -> bool:
        """All epochs are done, or patience ran out."""
        done, patience = len(progress.epochs), self.config.train.patience
        if self.config.train.trainable == "head" and progress.best is not None:
            return True
        return done >= self.config.train.epochs or (
            patience is not None and progress.best is not None and done - progress.best >= patience
        )

    def complete(self, progress: Progress) -> bool:
        """All epochs are done, and the texts that come after them."""
        return self.finished(progress) and not (self.pictures_first and progress.texts is None)

    def begin(self, progress: Progress) -> None:
        """Measures the model as it is and, if the config has one, runs the text warm-up and measures again.

        A linear head starts from the probe on the model as it is, which is kept as the first that may be chosen.
        """
        for advice in guards.of_labels(self.splits, self.objective, self.config):
            self.say(advice)
            self.run.log(progress.step, advice=advice)
        if self.head is not None:
            self.head.start(self.splits.train, self.pictures(), self.splits.tune, self.selection.pictures(self.encoder))
            self.processes.share(list(self.head.classifier.parameters()))
            self.references.average.restart()
            progress.first = progress.start = self.measured(progress, "linear probe")
        else:
            progress.first = self.measured(progress, "before")
            self.references.begin()
            if self.pictures_first:
                progress.start = self.measured(progress, "with value vectors")
            elif (base := self.references.base) is not None and self.config.train.text_warmup:
                progress.start = self.train_texts(progress, base.pictures)
            else:
                return
        progress.best = 0
        self.keep_adapter(progress)
        self.save(progress)

    def better_again(self, progress: Progress) -> bool:
        """Whether value vectors that were learned again are better on tune than the kept ones, rare values included."""
        score = self.measured(progress, "with value vectors learned again")
        return self.processes.decided(lambda: guards.better_again(score, progress, self.run.metrics()))

    def train_texts(self, progress: Progress, pictures: Tensor) -> tuple[float, ...]:
        """The steps of the text tower alone, against vectors of values and of all pictures; returns tune's score."""
        if self.config.train.text_warmup:
            figures = text_warmup.warm_up(
                self.config, self.encoder, self.splits.train, self.objective, self.step, self.processes,
                pictures, targets=self.references.targets(), scaler=self.accelerator.scaler,
            )  # fmt: skip
            self.run.log(progress.step, phase="text warm-up", **figures)
            self.references.average.restart()
        score = self.measured(progress, "after the text warm-up")
        if self.pictures_first:
            progress.texts = score
            self.keep_adapter(progress)
        return score

    def epoch(self, progress: Progress) -> None:
        """The steps of the epoch that is under way, from where it stands."""
        number = len(progress.epochs)
        first = progress.step - number * self.batches.steps_per_epoch
        size, every = self.config.train.batch_size, self.config.train.checkpoint_every
        left = self.batches.steps_per_epoch - first
        if self.config.train.hard_negatives and progress.order is None:
            progress.order = self.hard_order(number)
        order = None if progress.order is None else np.array(progress.order)
        started = time.perf_counter()
        with bar(left * size, f"epoch {number + 1} of {self.config.train.epochs}", "images") as shown:
            for done, micros in enumerate(self.batches.epoch(number, first, order), start=1):
                figures = self.optimizer_step(progress, micros, number)
                figures["images_per_second"] = done * size / (time.perf_counter() - started)
                self.run.log(progress.step, epoch=number + 1, **figures)
                self.accelerator.log(figures, step=progress.step)
                self.call("on_step", progress, figures)
                shown.advance(size, f"loss {figures['loss']:.3f}")
                if every and progress.step % every == 0 and done < left:
                    self.save(progress)

    def hard_order(self, epoch: int) -> list[int]:
        """The epoch's draws, batched so that close but unlike items meet by the model as it is; the same everywhere."""
        order = hard_order(
            self.batches.order(epoch), self.pictures(), label_codes(self.splits.train),
            batch_size=self.config.train.batch_size, share=self.config.train.hard_negatives,
        )  # fmt: skip
        shared = torch.from_numpy(order).to(self.encoder.device)
        self.processes.share([shared])
        return shared.tolist()

    def optimizer_step(self, progress: Progress, micros: Sequence[TrainBatch], epoch: int) -> dict[str, float]:
        """One step of the optimizer; returns what is logged of it.

        Raises:
            TrainingError: the loss or the gradient is no number; nothing was changed.
        """
        number = progress.step
        self.updates.clear()
        outcome = self.step.both(micros, epoch=epoch, step=number)
        rate = optim.lr_at(number, steps=self.steps, peak=self.config.train.lr, warmup=self.config.train.warmup)
        items = [self.splits.train.ids[item] for batch in micros for item in batch.indices]
        norm = self.updates.apply(float(outcome.loss), rate, step=number, items=items)
        self.logit_scale.clamp()
        self.references.average.update()
        progress.step += 1
        progress.add(**{name: float(getattr(outcome, name)) for name in ("loss", "right", "judged", "guessed")})
        parts = {name: float(part) for name, part in outcome.parts.items()}
        scale = {"logit_scale": float(self.logit_scale.scale().detach())} if self.logit_scale.trained else {}
        judged = {} if outcome.accuracy is None else {"accuracy": outcome.accuracy}
        return {"loss": float(outcome.loss), **parts, **judged, "lr": rate, "norm": norm, **scale}

    def finish_epoch(self, progress: Progress) -> None:
        """Measures tune, keeps the adapter if it is the best so far, says what is odd, and writes a checkpoint."""
        number = len(progress.epochs) + 1
        score = self.measured(progress, f"epoch {number}")
        best = () if progress.best is None else progress.scores()[progress.best]
        done = progress.close_epoch(score)
        judged = "" if done.accuracy is None else f", accuracy {done.accuracy:.1%} where chance is {done.chance:.1%}"
        self.say(f"epoch {number}: loss {done.loss:.3f}{judged}")
        if score > best:
            progress.best = number
            with self.references.average.applied():
                self.keep_adapter(progress)
        if not self.advised and (advice := guards.advice(progress.epochs, self.config)):
            self.say(advice)
            self.run.log(progress.step, epoch=number, advice=advice)
            self.advised = True
        self.save(progress)
        self.call("on_epoch", progress, {"loss": done.loss, **self.tuned})

    def call(self, event: str, progress: Progress, *arguments: object) -> None:
        """One event of all callbacks."""
        at = (progress.step, self.steps, len(progress.epochs), progress.best)
        state = State(self.config, self.run, self.encoder, *at)
        call(self.callbacks, event, state, *arguments)

    def measured(self, progress: Progress, when: str) -> tuple[float, ...]:
        """Tune's score of the model as it is now; its figures are logged and said."""
        with self.references.average.applied():
            if self.head is not None:
                self.head.put()
            score, figures = self.selection.measure(self.encoder, self.logit_scale, self.objective.table)
        self.tuned = figures = {f"tune_{name}": figure for name, figure in figures.items()}
        self.run.log(progress.step, when=when, **figures)
        self.accelerator.log(figures, step=progress.step)
        self.say(f"{when}: " + ", ".join(f"{name} {figure:.3f}" for name, figure in figures.items()))
        return score

    def pictures(self) -> Tensor:
        """Vectors of all training pictures by the image tower as it is now."""
        if self.cached is not None:
            return self.cached.vectors()
        return picture_vectors(
            self.encoder, self.splits.train, self.processes, batch_size=self.config.train.micro_batch
        )

    def keep_adapter(self, progress: Progress) -> None:
        """Writes the trained weights, which are the run's adapter from the next checkpoint on."""
        if self.head is not None:
            self.head.put()
        if self.processes.main:
            keeping.write(self.encoder, self.run, progress)

    def save(self, progress: Progress) -> None:
        """Writes a checkpoint and removes those that are no longer kept; every process waits until it is there."""
        progress.loss_scale, progress.logged = self.updates.loss_scale, self.run.logged
        if self.processes.main:
            checkpoints.save(self.run.checkpoints, progress, self.references.kept, self.updates.optimizer)
            checkpoints.prune(self.run.checkpoints, self.config.train.keep_checkpoints)
            keeping.put_in_place(self.run, progress)
        self.processes.wait()

    def say(self, text: str) -> None:
        """Tells the user, once for all processes."""
        if self.processes.main:
            print(text, file=sys.stderr, flush=True)
